"""Reads the file of a W&B run, which the client keeps for its upload: LevelDB's log format of protocol buffers."""

import json
import struct
import time

BLOCK = 32768


def records(path):
    """All records of a ``.wandb`` file in order."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := BLOCK - place % BLOCK) < 7:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


class OfflineRun:
    """What a folder ``wandb`` holds of its one run."""

    def __init__(self, folder):
        (file,) = folder.glob("offline-run-*/*.wandb")
        found, kinds = [], []
        for _ in range(100):  # the client goes on writing for a moment after it has finished
            found = list(records(file))
            kinds = [record.WhichOneof("record_type") for record in found]
            if "exit" in kinds:
                break
            time.sleep(0.1)
        self.files = file.parent / "files"
        (self.id,) = {record.run.run_id for record, kind in zip(found, kinds, strict=True) if kind == "run"}
        self.metrics = [record.metric for record, kind in zip(found, kinds, strict=True) if kind == "metric"]
        self.artifacts = [record.artifact for record, kind in zip(found, kinds, strict=True) if kind == "artifact"]
        self.config: dict = {}
        for record in found:
            for item in [*record.config.update, *record.run.config.update]:
                self.config[item.key] = json.loads(item.value_json)
        self.rows = [
            {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for record, kind in zip(found, kinds, strict=True)
            if kind == "history"
        ]
