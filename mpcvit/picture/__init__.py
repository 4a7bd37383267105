"""Pictures of every origin as 8-bit RGB pixels: one way of reading for clients, training and measurements. No torch."""

from mpcvit.picture.fit import Fit
from mpcvit.picture.reader import MAX_PIXELS, Picture, PictureSource, read_picture

__all__ = ["MAX_PIXELS", "Fit", "Picture", "PictureSource", "read_picture"]
