"""Pictures of every origin as pixels: one way of reading for clients, training and measurements. No torch."""

from mpcvit.picture.fit import Fit
from mpcvit.picture.form import RGB8, PixelForm
from mpcvit.picture.reader import MAX_PIXELS, Picture, PictureSource, read_picture

__all__ = ["MAX_PIXELS", "RGB8", "Fit", "Picture", "PictureSource", "PixelForm", "read_picture"]
