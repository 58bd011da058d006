"""Layers for PyTorch made from programs: `import tensorc.nn`. Only this package needs torch to import."""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ImportError('tensorc.nn needs PyTorch. Install it with: pip install "tensorc[torch]".')

from tensorc.nn.attention import Attention, AttentionState
from tensorc.nn.convolution import ShortConvolution
from tensorc.nn.language_model import FeedForward, LanguageModel, LanguageModelState
from tensorc.nn.tensor_network import DeepTensorNetwork, TensorAttention, TensorInteraction

__all__ = [
    "Attention",
    "AttentionState",
    "DeepTensorNetwork",
    "FeedForward",
    "LanguageModel",
    "LanguageModelState",
    "ShortConvolution",
    "TensorAttention",
    "TensorInteraction",
]
