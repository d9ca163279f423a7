#!/bin/bash
# Trains on 2 nodes of 4 GPUs: sbatch scripts/slurm.sh [options of lit-gen fit], from the checkout, in its environment.
# One task a GPU: Lightning reads rank, address and port from SLURM's environment and starts no processes itself.
#SBATCH --job-name=lit-gen
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out
# Two minutes before the time is up this script alone is told (B:), so that Lightning's own requeueing stays out of it.
#SBATCH --signal=B:USR1@120

set -euo pipefail
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
out_of_time=false
# The tasks finish their batch and save. Through scancel, which reaches the tasks alone: srun ends them if it gets SIGTERM.
trap 'out_of_time=true; scancel --signal=TERM "$SLURM_JOB_ID" || true' USR1

job=(--experiment "wgan_gp_cifar10/$SLURM_JOB_ID") # so that its "last" is its own
again=()
[ "${SLURM_RESTART_COUNT:-0}" -eq 0 ] || again=(--ckpt_path last)
srun --kill-on-bad-exit=1 lit-gen fit -c wgan_gp_cifar10 -c ddp "${job[@]}" \
    --trainer.num_nodes "$SLURM_NNODES" --trainer.devices "${SLURM_NTASKS_PER_NODE%%(*}" "$@" "${again[@]}" &
tasks=$!
status=0
wait "$tasks" || status=$?
if $out_of_time && [ "$status" -eq $((128 + $(kill -l USR1))) ]; then # the signal has ended the wait, not the tasks
    status=0
    wait "$tasks" || status=$?
fi
if $out_of_time && [ "$status" -eq 143 ]; then # stopped by SIGTERM: neither finished nor failed
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
