"""What happens around training: scores, sample grids, checkpoints, progress."""

from lit_gen.callbacks.checkpoint import RunCheckpoint
from lit_gen.callbacks.checkpoint_io import AtomicCheckpointIO
from lit_gen.callbacks.collapse import CollapseWarning, PosteriorCollapse
from lit_gen.callbacks.evaluate import Evaluate
from lit_gen.callbacks.faults import FaultPolicy
from lit_gen.callbacks.game import GameMonitor, GameWarning
from lit_gen.callbacks.latents import LatentDiagnostics
from lit_gen.callbacks.modes import ModeCoverage
from lit_gen.callbacks.predictions import PredictionWriter
from lit_gen.callbacks.progress import RunProgress
from lit_gen.callbacks.reconstruction import EvaluateReconstruction, ReconstructionGrid
from lit_gen.callbacks.record import RunRecord
from lit_gen.callbacks.samples import SampleGrid
from lit_gen.callbacks.score_histograms import ScoreHistograms
from lit_gen.callbacks.speed import Speed
from lit_gen.callbacks.translation import EvaluateTranslation, TranslationGrid

__all__ = [
    "AtomicCheckpointIO",
    "CollapseWarning",
    "Evaluate",
    "EvaluateReconstruction",
    "EvaluateTranslation",
    "FaultPolicy",
    "GameMonitor",
    "GameWarning",
    "LatentDiagnostics",
    "ModeCoverage",
    "PosteriorCollapse",
    "PredictionWriter",
    "ReconstructionGrid",
    "RunCheckpoint",
    "RunProgress",
    "RunRecord",
    "SampleGrid",
    "ScoreHistograms",
    "Speed",
    "TranslationGrid",
]
