"""``python -m lit_gen`` is ``lit-gen``."""

from lit_gen.cli import main

if __name__ == "__main__":
    main()
