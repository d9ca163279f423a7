"""MNIST and Fashion-MNIST, read by torchvision."""

from datamodules.formats.vision_table import FASHION
from datamodules.vision import VisionDataModule


class MNISTDataModule(VisionDataModule):
    """MNIST: handwritten digits (1, 28, 28), 10 classes, under ``root/MNIST/raw``.

    Splits: train 55,000 (the first), val 5,000 (the last of the 60,000 training images), test 10,000 (the
    official test set).
    """

    name = "mnist"
    image_shape = (1, 28, 28)
    num_classes = 10
    torchvision_class = "MNIST"


class FashionMNISTDataModule(MNISTDataModule):
    """Fashion-MNIST (arXiv:1708.07747): clothing, files under ``root/FashionMNIST/raw``, else as MNIST."""

    name = "fashion_mnist"
    class_names = FASHION
    torchvision_class = "FashionMNIST"
