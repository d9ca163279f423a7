"""CIFAR-10, read by torchvision."""

from datamodules.vision import VisionDataModule


class CIFAR10DataModule(VisionDataModule):
    """CIFAR-10: colour photographs (3, 32, 32), 10 classes, under ``root/cifar-10-batches-py``.

    Splits: train 45,000 (the first), val 5,000 (the last of the 50,000 training images), test 10,000 (the
    official test set). ``val_size=0`` trains on all 50,000, the usual protocol of image quality.
    """

    name = "cifar10"
    image_shape = (3, 32, 32)
    num_classes = 10
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    torchvision_class = "CIFAR10"
