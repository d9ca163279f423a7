"""The script that counts which codes autoencoders use."""

import sys

import torch

from datamodules import DataModule, DigitsDataModule


def test_counts_are_those_of_all_images(load_script, monkeypatch, capsys):
    codes = load_script("experiments/codes.py")
    seen = {}

    def of_split(trainer, model, split):
        told = counted(trainer, model, split)
        with torch.inference_mode():
            data = DigitsDataModule().dataset(split)
            images = DataModule.to_float(data.__getitems__(list(range(len(data))))[0])
            seen[split] = len(model.indices(images).unique())
        return told

    counted = codes.Count.of_split
    monkeypatch.setattr(codes.Count, "of_split", staticmethod(of_split))
    monkeypatch.setattr(sys, "argv", ["codes.py", "digits", "--rows", "FSQ, whitened", "--steps", "2"])
    codes.main()
    row = capsys.readouterr().out.strip().splitlines()[-1]
    train, val = (part.split(" ")[0] for part in row.split("|")[2].strip().split("), "))
    assert (int(train), int(val)) == (seen["train"], seen["val"])
    assert 1 < seen["val"] <= seen["train"] <= 1000
