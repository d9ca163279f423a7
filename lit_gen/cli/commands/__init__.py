"""Commands of ``lit-gen`` that need no Trainer, one module each with ``run(arguments)``."""
