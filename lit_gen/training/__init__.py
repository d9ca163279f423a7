"""What a training step needs: players, processes, faults, averages, noise by position, packing, image pools."""
