"""Writes the three splits of any data module as shards of the WebDataset format, for StreamingDataModule.

python scripts/make_shards.py --data ImageFolderDataModule --data.root photos --data.image_size 128 --out shards
"""

from jsonargparse import ArgumentParser

import datamodules
from datamodules.shard_writer import write_shards


def main(arguments: list[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_subclass_arguments(datamodules.DataModule, "data")
    parser.add_argument("--out", required=True, help="a new folder")
    parser.add_argument("--images_per_shard", type=int, default=1000)
    given = parser.instantiate(parser.parse_args(arguments))
    write_shards(given.data, given.out, given.images_per_shard)
    print(f"shards of {given.data.name} in {given.out}")


if __name__ == "__main__":
    main()
