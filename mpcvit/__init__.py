"""mpcvit: privacy-preserving inference for Vision Transformers.

The light client (``mpcvit.client``) needs neither torch nor crypten; everything else asks for an extra.
"""

__version__ = "0.2.0"
