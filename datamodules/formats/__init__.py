"""Formats that data sets are kept in: files of arrays, tables of labels, the sets that torchvision reads."""
