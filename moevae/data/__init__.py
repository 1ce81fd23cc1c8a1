"""Data sets, splits, binarization, augmentation and neighbors."""
