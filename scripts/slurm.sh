#!/bin/bash
# Trains on 2 nodes of 4 GPUs: sbatch scripts/slurm.sh [options of lit-gen fit], from the checkout, in its environment.
# One task a GPU: Lightning reads rank, address and port from SLURM's environment and starts no processes itself.
#SBATCH --job-name=lit-gen
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%j.out
# Two minutes before the time is up the run finishes its batch and saves: sbatch scripts/slurm.sh --ckpt_path last
#SBATCH --signal=SIGTERM@120

set -euo pipefail
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
srun --kill-on-bad-exit=1 lit-gen fit -c wgan_gp_cifar10 -c ddp \
    --trainer.num_nodes "$SLURM_NNODES" --trainer.devices "${SLURM_NTASKS_PER_NODE%%(*}" "$@"
