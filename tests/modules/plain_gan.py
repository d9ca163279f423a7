"""A GAN's training in plain PyTorch: networks, losses, penalties and the loop, written from the papers' formulas.

Of the library it takes the first weights and the random numbers alone. Networks have one hidden layer.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lit_gen.training.randomness import Randomness

SEED, LATENT, CLASSES = 3, 4, 3
Weights = dict[str, Tensor]


def own_weights(network: torch.nn.Module) -> Weights:
    """Copies of a network's weights."""
    return {name: weight.detach().clone().requires_grad_() for name, weight in network.named_parameters()}


def one_hot(y: Tensor) -> Tensor:
    return torch.eye(CLASSES, dtype=torch.get_default_dtype())[y]


def generated(w: Weights, z: Tensor, y: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """ReLU, and tanh for images; labels are joined one-hot."""
    z = z if y is None else torch.cat([z, one_hot(y)], 1)
    hidden = (z @ w["layers.0.weight"].T + w["layers.0.bias"]).clamp(min=0)
    x = (hidden @ w["layers.3.weight"].T + w["layers.3.bias"]).reshape(-1, *shape)
    return x.tanh() if len(shape) == 3 else x


def scored(w: Weights, x: Tensor, y: Tensor | None, condition: str) -> tuple[Tensor, Tensor | None]:
    """LeakyReLU of slope 0.2; scores, and class scores of an auxiliary classifier."""
    x = x.reshape(len(x), -1)
    x = torch.cat([x, one_hot(y)], 1) if condition == "concatenation" else x
    before = x @ w["layers.0.weight"].T + w["layers.0.bias"]
    hidden = torch.where(before > 0, before, 0.2 * before)
    scores = (hidden @ w["layers.3.weight"].T + w["layers.3.bias"])[:, 0]
    if condition == "projection":
        scores = scores + (w["head.weight"][y] * hidden).sum(1)
    return scores, hidden @ w["head.weight"].T + w["head.bias"] if condition == "auxiliary" else None


def log_sigmoid(t: Tensor) -> Tensor:
    return -torch.log1p(torch.exp(-t))


def discriminator_loss(loss: str, r: Tensor, f: Tensor) -> Tensor:
    """Of scores of real (r) and generated (f) samples."""
    s = log_sigmoid
    return {
        "NonSaturating": lambda: -s(r).mean() - s(-f).mean(),
        "Smoothed": lambda: -(0.9 * s(r) + 0.1 * s(-r)).mean() - s(-f).mean(),
        "Minimax": lambda: -s(r).mean() - s(-f).mean(),
        "LeastSquares": lambda: ((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2,
        "Hinge": lambda: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean(),
        "Wasserstein": lambda: f.mean() - r.mean(),
        "RelativisticPairing": lambda: -s(r - f).mean(),
        "RelativisticAverage": lambda: -s(r - f.mean()).mean() - s(r.mean() - f).mean(),
    }[loss]()


def generator_loss(loss: str, r: Tensor, f: Tensor) -> Tensor:
    s = log_sigmoid
    return {
        "NonSaturating": lambda: -s(f).mean(),
        "Smoothed": lambda: -s(f).mean(),
        "Minimax": lambda: s(-f).mean(),
        "LeastSquares": lambda: ((f - 1) ** 2).mean() / 2,
        "Hinge": lambda: -f.mean(),
        "Wasserstein": lambda: -f.mean(),
        "RelativisticPairing": lambda: -s(f - r).mean(),
        "RelativisticAverage": lambda: -s(f - r.mean()).mean() - s(f.mean() - r).mean(),
    }[loss]()


def parts_of(count: int, parts: int) -> list[slice]:
    """Rows in parts of one size, the last one smaller; a single last row goes with those before it."""
    size = -(-count // parts)
    starts = list(range(0, count, size))
    if size > 1 and len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)]


def penalty(name: str, score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """Of weight 0.7; that of DRAGAN has variance 0.3."""

    def squares(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
        return (gradient.reshape(len(x), -1) ** 2).sum(1)

    if name == "R1":
        return 0.35 * squares(real).mean()
    if name == "R2":
        return 0.35 * squares(fake).mean()
    if name == "FiniteDifference":  # sigma 0.2
        normal = torch.distributions.Normal(0.0, 1.0).icdf(epsilon)
        ends = (score(x + 0.2 * normal[:, i]) - score(x) for i, x in enumerate((real, fake.detach())))
        return sum((0.35 * (end / 0.2).square().mean() for end in ends), torch.zeros(()))
    if name == "R1R2":
        return 0.35 * (squares(real).mean() + squares(fake).mean())
    if name == "DRAGAN":
        normal = math.sqrt(2) * torch.erfinv(2 * epsilon - 1)
        return 0.7 * ((squares(real + math.sqrt(0.3) * normal).sqrt() - 1) ** 2).mean()
    share = epsilon.reshape(-1, *[1] * (real.ndim - 1))
    excess = squares(share * real + (1 - share) * fake).sqrt() - 1
    return 0.7 * ((excess.clamp(min=0) if name == "one-sided" else excess) ** 2).mean()


def epsilon_shape(name: str, sample: tuple[int, ...]) -> tuple[int, ...]:
    """Of a penalty's uniform numbers for each sample."""
    return {"DRAGAN": (*sample,), "FiniteDifference": (2, *sample)}.get(name, ())


def cross_entropy(classes: Tensor, y: Tensor) -> Tensor:
    return -(classes.log_softmax(1) * one_hot(y)).sum(1).mean()


class PlainGAN:
    """The loop, for a case of test_differential_gan.py.

    Args:
        module: Where the first weights come from.
        case: The options.
    """

    def __init__(self, module: Any, case: dict[str, Any]) -> None:
        self.case, self.shape = case, case["shape"]
        self.g, self.d = own_weights(module.generator), own_weights(module.discriminator)
        self.average = {k: p.detach().clone() for k, p in self.g.items()}
        self.steps = {"d": _stepper(self.d, case, "d"), "g": _stepper(self.g, case, "g")}
        self.updates, self.images_seen, self.values = {"discriminator": 0, "generator": 0}, 0, {}

    def pack(self, x: Tensor) -> Tensor:
        """Sample i with i + N/m, channels joined."""
        m = self.case["pack"]
        return torch.stack([torch.cat([x[i + k * (len(x) // m)] for k in range(m)]) for i in range(len(x) // m)])

    def blur(self, like: Tensor, random: Randomness) -> Tensor | float:
        """Instance noise; that of "fading" is gone after 20 images."""
        left = {"none": 0.0, "constant": 1.0, "fading": 1 - self.images_seen / 20}[self.case["noise"]]
        return 0.3 * left * random.normal(*like.shape) if left > 0 else 0.0

    def train(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        case, random = self.case, Randomness()
        for step, (x, labels) in enumerate(batches):
            random.reseed(SEED, "train", step)
            y = None if case["condition"] == "none" else labels
            real = self.pack(x)
            z = random.normal(len(x), LATENT)
            epsilon = random.uniform(len(real), *epsilon_shape(case["penalty"], real.shape[1:]))
            of_real, of_fake = self.blur(real, random), self.blur(real, random)
            self.discriminator_step(real, z, y, epsilon, of_real, of_fake)
            self.updates["discriminator"] += 1
            self.images_seen += len(x)
            if (step + 1) % case["n_critic"] == 0:
                for i in range(case["n_generator"]):
                    z = z if i == 0 and case["reuse_fakes"] else random.normal(len(x), LATENT)
                    self.generator_step(real, z, y, of_real, self.blur(real, random))
                    self.updates["generator"] += 1
                    self.follow(len(x))

    def rows(self, count: int, player: str) -> list[slice]:
        """The parts that a loss sees, the whole batch unless its formula asks for more than a mean over samples."""
        coupled = self.case["loss"] == "RelativisticAverage" or (player == "g" and self.case["unroll"] != "none")
        return parts_of(count, self.case[f"{player}_parts"] if coupled else 1)

    def game(self, d: Weights, real: Tensor, fake: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """L_D without the penalty, and L_G."""
        (r, of_real), (f, of_fake) = (scored(d, x, y, self.case["condition"]) for x in (real, fake))
        losses = discriminator_loss(self.case["loss"], r, f), generator_loss(self.case["loss"], r, f)
        if of_real is None:
            return losses
        return (
            losses[0] + 0.5 * (cross_entropy(of_real, y) + cross_entropy(of_fake, y)),
            losses[1] + 0.5 * cross_entropy(of_fake, y),
        )

    def discriminator_step(self, real, z, y, epsilon, of_real, of_fake) -> None:
        fake = (self.pack(generated(self.g, z, y, self.shape)) + of_fake).detach()
        real, total, loss = real + of_real, len(real), 0.0
        for rows in self.rows(total, "d"):
            labels = None if y is None else y[rows]
            loss = loss + (rows.stop - rows.start) / total * self.game(self.d, real[rows], fake[rows], labels)[0]
        interval, game = self.case["interval"], loss
        if self.case["penalty"] != "none" and self.updates["discriminator"] % interval == 0:
            value = penalty(
                self.case["penalty"], lambda x: scored(self.d, x, y, self.case["condition"])[0], real, fake, epsilon
            )
            loss, self.values["penalty"] = loss + interval * value, value
        # Of a lazy penalty the last value is told at every step.
        self.values["discriminator_loss"] = game + self.values.get("penalty", 0.0)
        self.steps["d"](loss)
        if self.case["clip"]:
            with torch.no_grad():
                for weight in self.d.values():
                    weight.copy_(weight.clamp(-0.3, 0.3))

    def generator_step(self, real, z, y, of_real, of_fake) -> None:
        fake = self.pack(generated(self.g, z, y, self.shape)) + of_fake
        real, total, loss = real + of_real, len(real), 0.0
        for rows in self.rows(total, "g"):
            part, labels = (real[rows], fake[rows]), None if y is None else y[rows]
            d = self.ahead(*part, labels)
            loss = loss + (rows.stop - rows.start) / total * self.game(d, *part, labels)[1]
        self.values["generator_loss"] = loss
        self.steps["g"](loss)

    def ahead(self, real: Tensor, fake: Tensor, y: Tensor | None) -> Weights:
        """The discriminator two unrolled steps ahead, with its graph."""
        d = self.d
        moments = dict.fromkeys(d, (0.0, 0.0))
        for t in range(1, 3 if self.case["unroll"] != "none" else 1):
            loss, _ = self.game(d, real, fake, y)
            slopes = torch.autograd.grad(loss, list(d.values()), create_graph=True, allow_unused=True)
            slopes = {k: torch.zeros_like(d[k]) if s is None else s for k, s in zip(d, slopes, strict=True)}
            if self.case["unroll"] == "SGD":
                d = {k: d[k] - 0.2 * slopes[k] for k in d}
                continue
            moments = {k: (0.5 * m + 0.5 * slopes[k], 0.9 * v + 0.1 * slopes[k] ** 2) for k, (m, v) in moments.items()}
            d = {k: d[k] - 0.2 * (m / (1 - 0.5**t)) / (v / (1 - 0.9**t) + 1e-4).sqrt() for k, (m, v) in moments.items()}
        return d

    def follow(self, images: int) -> None:
        """The weight average, of half-life 10 images, with a ramp at most half of those seen."""
        half_life = min(10, 0.5 * self.images_seen) if self.case["average"] == "ramp" else 10
        share = 0.5 ** (images / half_life)
        self.average = {k: share * mean + (1 - share) * self.g[k].detach() for k, mean in self.average.items()}


def _stepper(weights: Weights, case: dict[str, Any], player: str) -> Callable[[Tensor], None]:
    lr, betas = 0.01, (0.5, 0.999)
    if player == "d" and case["optimizer"] == "corrected":
        c = case["interval"] / (case["interval"] + 1)
        lr, betas = lr * c, (betas[0] ** c, betas[1] ** c)
    if case["optimizer"] == "SGD":
        optimizer = torch.optim.SGD(weights.values(), lr=0.05, momentum=0.5)
    elif case["optimizer"] == "RMSprop":
        optimizer = torch.optim.RMSprop(weights.values(), lr=lr, alpha=0.99, foreach=False)
    else:
        optimizer = torch.optim.Adam(weights.values(), lr=lr, betas=betas, fused=False, foreach=False)
    return stepper(weights, optimizer, 0.4 if case["clip_norm"] else None, 0.5 if case["schedule"] else 1.0)


def stepper(
    weights: Weights, optimizer: torch.optim.Optimizer, clip_norm: float | None = None, gamma: float = 1.0
) -> Callable[[Tensor], None]:
    """A step on a loss by torch's optimizer, with a bound on the gradient's norm and a factor on each next rate."""

    def step(loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        if clip_norm is not None:
            norm = sum((g**2).sum() for g in gradients if g is not None).sqrt()
            gradients = [None if g is None else g * min(1.0, clip_norm / (norm.item() + 1e-6)) for g in gradients]
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight.grad = gradient
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] *= gamma

    return step
