"""Likelihoods and latents of variational models: bounds by importance and annealing, information, active units."""
