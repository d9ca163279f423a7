"""``lit-gen explore``: a page in the browser on which a trained model is looked at.

`latents` and `uploads` are what the page does, in plain functions, and `explorer` answers its controls by them. `page`,
`latent_tabs`, `picture_tabs` and `answers` lay it out and are all that imports Gradio; `serving` serves it to this
machine alone, and `space` writes it as a folder.
"""
