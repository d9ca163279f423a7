"""Models for the Hugging Face Hub: a folder that can be uploaded as it is, and the upload where it is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_gen.modules import GenerativeModule
from lit_gen.pretrained.loading import from_pretrained
from lit_gen.pretrained.saving import save_pretrained
from lit_gen.pretrained.stored import is_repository, stored_facts


def push_to_hub(
    model: GenerativeModule | str | Path,
    repository: str,
    folder: str | Path | None = None,
    facts: Mapping[str, Any] | None = None,
    *,
    upload: bool = False,
    private: bool = False,
    trusted: Sequence[str] = (),
) -> Path:
    """Prepare a model for the Hub, and upload it if that is asked for. Without ``upload`` no network is used.

    Weights, ``config.json`` and the card ``README.md`` go to a folder, which ``lit_gen.from_pretrained(repository)``
    reads once it is on the Hub. The command that uploads it is printed.

    Args:
        model: A trained model, or what :func:`lit_gen.from_pretrained` takes: a checkpoint, a folder, a shipped name.
        repository: ``owner/name``.
        folder: A new folder, or an empty one; by default called as the repository, in the working folder.
        facts: What the card says besides what is known of the model, such as ``{"licence": "mit"}``.
        upload: Whether to make the repository, if there is none, and upload; ``hf auth login`` comes before.
        private: Whether a new repository is.
        trusted: Further packages whose classes a file may name.

    Returns:
        The folder.

    Raises:
        ValueError: for a name that is no repository's, a folder that holds something, or without an account.
        OSError: if the upload fails; the folder stays.
    """
    if not is_repository(repository):
        raise ValueError(f"repository={repository}: owner/name, of letters, digits and -_.")
    token = _token() if upload else None
    known = {} if isinstance(model, GenerativeModule) else stored_facts(model)
    module = model if isinstance(model, GenerativeModule) else from_pretrained(model, trusted=trusted)
    place = Path(folder if folder is not None else repository.rpartition("/")[2])
    save_pretrained(module, place, {**known, **(facts or {})}, repository)
    command = f"hf upload {repository} {place} .{' --private' if private else ''}"
    if token is None:
        print(f"lit-gen: {place} is ready; to upload it: {command}")
        return place
    _upload(repository, place, token, private)
    print(f'lit-gen: uploaded {place}; lit_gen.from_pretrained("{repository}") loads it')
    return place


def _token() -> str:
    from huggingface_hub import get_token
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        raise ValueError("upload: HF_HUB_OFFLINE is set, which forbids it; without upload the folder is prepared")
    token = get_token()
    if token is None:
        raise ValueError("upload: not logged in to the Hugging Face Hub; `hf auth login`, or prepare without upload")
    return token


def _upload(repository: str, folder: Path, token: str, private: bool) -> None:
    from huggingface_hub import HfApi

    try:
        api = HfApi(token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload by lit-gen")
    except Exception as error:  # of the client and of the network below it, of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(f"{repository}: not uploaded ({reason}); {folder} is whole") from error
