"""One form of data as another: folder, .zip, .npz, shards, parquet. ``lit-gen convert`` is its command."""
