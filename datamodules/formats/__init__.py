"""Data sets as they are kept elsewhere: arrays, encoded pictures in tables and data bases, torchvision's sets."""
