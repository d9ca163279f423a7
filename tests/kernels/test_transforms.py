"""Where `torch.func` transforms PyTorch's own convolutions, the kernels let it."""

import pytest
import torch
from torch.autograd import forward_ad, functional
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.nn import functional as F

from lit_gen.kernels import DirectDoubleBackward, FastConvolutions

generator = torch.Generator().manual_seed(0)
X, W = (torch.randn(s, dtype=torch.float64, generator=generator) for s in ((3, 2, 6, 6), (4, 2, 3, 3)))


def network(x, weight):
    maps = F.instance_norm(F.pad(F.leaky_relu(F.conv2d(F.relu(x), weight, padding=1), 0.2), (1, 1, 0, 0)))
    return F.avg_pool2d(F.conv_transpose2d(maps, weight.transpose(2, 3)), 2).pow(2).sum((1, 2, 3))


def of_weight(weight):
    return network(X[:, :, :4, :4], weight).sum()


def tangent():
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(network(X, forward_ad.make_dual(W, W.cos()))).tangent


def batched():
    weight = W.clone().requires_grad_()
    return torch.autograd.grad(network(X, weight), weight, torch.eye(3, dtype=torch.float64), is_grads_batched=True)[0]


TRANSFORMS = {
    "vmap": lambda: vmap(lambda x: network(x[None], W))(X),
    "grad": lambda: grad(of_weight)(W),
    "gradients by sample": lambda: vmap(grad(lambda w, x: network(x[None], w).sum()), (None, 0))(W, X),
    "jvp": lambda: jvp(lambda x: network(x, W), (X,), (X.cos(),))[1],
    "jacrev": lambda: jacrev(lambda w: network(X, w))(W),
    "jacfwd": lambda: jacfwd(lambda w: network(X, w))(W),
    "hessian": lambda: hessian(of_weight)(W),
    "dual numbers": tangent,
    "gradients at once": batched,
    "vectorised Jacobian": lambda: functional.jacobian(lambda w: network(X, w), W, vectorize=True),
    "vectorised Hessian": lambda: functional.hessian(of_weight, W, vectorize=True),
}


@pytest.mark.parametrize("mode", [FastConvolutions, DirectDoubleBackward])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_are_pytorchs(transform, mode):
    theirs = TRANSFORMS[transform]()
    with mode():
        ours = TRANSFORMS[transform]()
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
