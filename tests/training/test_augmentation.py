"""Augmentations by brute force, as maps of distributions, and differentiated twice."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from families import assert_bad_options_are_named, assert_is_a_frozen_value, unlisted
from lit_gen.modules.judge import BothViewed, Judge
from objectives import Smooth, gradient_of

import lit_gen.training.augmentation as package
from lit_gen.losses import DRAGAN, R1, R1R2, R2
from lit_gen.training.augmentation import ADA, Augmentation, DiffAugment
from lit_gen.training.augmentation.colour import POWER, amplify, normalised_gains
from lit_gen.training.view import View

AUGMENTATIONS = [DiffAugment(), DiffAugment("cutout, color"), ADA(), ADA("bgcfnc", target=None, p=0.5)]
ALL = partial(ADA, "bgcfnc", None)
NO, YES = 0.999, 0.0  # numbers of a gate that is shut, and open, at p = 1/2


def uniform(n, augmentation, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, augmentation.numbers(shape), dtype=torch.float64, generator=generator)


def images(*shape, seed=1):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_all_are_listed():
    assert not unlisted(package, Augmentation, AUGMENTATIONS)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=str)
def test_each_is_a_value_that_takes_any_image_and_treats_it_by_itself(augmentation):
    assert_is_a_frozen_value(augmentation)
    assert_bad_options_are_named(augmentation)
    for shape in [(1, 1, 1), (1, 8, 5), (3, 9, 9), (4, 6, 8)]:
        x, numbers = images(5, *shape), uniform(5, augmentation, shape)
        whole = augmentation(x.float(), numbers.float())
        assert whole.shape == x.shape
        assert whole.dtype == torch.float32
        assert whole.isfinite().all()
        each = [augmentation(x[i : i + 1].float(), numbers[i : i + 1].float()) for i in range(5)]
        torch.testing.assert_close(torch.cat(each), whole)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 6)])
def test_diff_augment_by_loops(shape):
    augmentation, (_, h, w) = DiffAugment(), shape
    x, numbers = images(20, *shape), uniform(20, augmentation, shape)
    for image, u, found in zip(x.numpy(), numbers.numpy(), augmentation(x, numbers), strict=True):
        y = image + (u[0] - 0.5)
        y = (y - y.mean(0)) * 2 * u[1] + y.mean(0)
        y = (y - y.mean()) * (u[2] + 0.5) + y.mean()
        (sy, sx), (ch, cw) = (tuple(int(side * share + 0.5) for side in (h, w)) for share in (0.125, 0.5))
        dy, dx = int(u[3] * (2 * sy + 1)) - sy, int(u[4] * (2 * sx + 1)) - sx
        moved = np.zeros_like(y)
        for i, j in itertools.product(range(h), range(w)):
            if 0 <= i - dy < h and 0 <= j - dx < w:
                moved[:, i, j] = y[:, i - dy, j - dx]
        top, left = int(u[5] * (h + 1 - ch % 2)), int(u[6] * (w + 1 - cw % 2))
        for i, j in itertools.product(range(ch), range(cw)):  # indices beyond the border fall on it
            moved[:, np.clip(i + top - ch // 2, 0, h - 1), np.clip(j + left - cw // 2, 0, w - 1)] = 0
        np.testing.assert_allclose(found.numpy(), moved, atol=1e-12)


def test_flips_turns_and_whole_shifts_are_exact():
    x, ada = images(1, 3, 6, 6), ADA("blit", target=None, p=0.5)

    def made(*numbers):
        return ada(x, torch.tensor([numbers], dtype=torch.float64))

    assert torch.equal(made(NO, YES, NO, 0.5, NO, 0.9, 0.9), x)
    torch.testing.assert_close(made(YES, 0.7, NO, 0, NO, 0, 0), x.flip(3))
    assert torch.equal(made(YES, 0.2, NO, 0, NO, 0, 0), x)  # the mirror's other half
    for turns in range(4):
        expected = torch.rot90(x, turns, (2, 3))
        torch.testing.assert_close(made(NO, 0, YES, (turns + 0.5) / 4, NO, 0, 0), expected)
    mirrored = torch.tensor(np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), "symmetric"))
    torch.testing.assert_close(made(NO, 0, NO, 0, YES, 0.999, 0.001), mirrored[:, :, 2:, :6])  # right and up


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_augmented_distributions_tell_all_of_the_plain_ones_unless_p_is_one(p):
    """All draws of mirroring and quarter turns, on a grid of numbers on which frequencies are probabilities.

    The map from distributions over the eight orientations of an image to those of augmented images has the mixture's
    entries; its least singular value is (1 − p)², so that two generators of equal augmented distributions are equal for
    p < 1. With p = 1 the eight orientations become one.
    """
    picture = images(1, 1, 4, 4)
    orbit = [torch.rot90(y, k, (2, 3)) for y in (picture, picture.flip(3)) for k in range(4)]
    quarters = [(i + 0.5) / 4 for i in range(4)]
    grid = [(a, b, c, d, 0.9999, 0.5, 0.5) for a, b, c, d in itertools.product(quarters, repeat=4)]
    numbers = torch.tensor(grid, dtype=torch.float64)
    matrix = torch.zeros(8, 8, dtype=torch.float64)
    for column, start in enumerate(orbit):
        made = ADA("blit", target=None, p=p)(start.expand(len(grid), -1, -1, -1), numbers)
        distances = torch.stack([(made - other).abs().amax((1, 2, 3)) for other in orbit])
        assert distances.amin(0).max() < 1e-9
        matrix[:, column] = distances.argmin(0).bincount(minlength=8) / len(grid)
    of_flip, of_turn = [1 - p / 2, p / 2], [1 - 3 * p / 4, p / 4, p / 4, p / 4]
    for column, row in itertools.product(range(8), repeat=2):
        # orbit[4 f + k] is k turns of the image mirrored f times; mirroring comes first, which reverses the turns.
        flipped = column // 4 != row // 4
        start = -(column % 4) if flipped else column % 4
        expected = of_flip[flipped] * of_turn[(start - row % 4) % 4]
        assert matrix[row, column].item() == pytest.approx(expected)
    assert torch.linalg.svdvals(matrix)[-1].item() == pytest.approx((1 - p) ** 2, abs=1e-12)
    if p < 1:
        plain = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).softmax(0)
        torch.testing.assert_close(torch.linalg.solve(matrix, matrix @ plain), plain)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 10)])
def test_at_probability_zero_images_stay_bit_for_bit(shape):
    ada = ALL(p=0.0)
    x = images(64, *shape).float()
    assert torch.equal(ada(x, uniform(64, ada, shape).float()), x)
    adaptive = ADA("bgcfnc")
    assert torch.equal(adaptive(x, uniform(64, ada, shape).float(), memory=adaptive.memory()), x)


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_each_gate_opens_with_its_probability(p):
    """Of images that no transformation but one can leave as they are, the share that changes."""
    x = images(1, 3, 8, 8).expand(4000, -1, -1, -1)
    for category, share in [("blit", 1 - (1 - p / 2) * (1 - 3 * p / 4)), ("geom", 1 - (1 - p) ** 4)]:
        ada = ADA(category, target=None, p=p)
        numbers = uniform(4000, ada, (3, 8, 8))
        if category == "blit":
            numbers[:, 4] = 0.999  # no shift, which may be by nothing
        changed = (ada(x, numbers) != x).any(3).any(2).any(1).double().mean().item()
        assert changed == pytest.approx(share, abs=0.03)  # 4 standard deviations


def test_colours_by_their_meaning():
    x, ada = images(1, 3, 2, 2), ADA("color", target=None, p=0.5)
    mean = x.mean(1, keepdim=True)

    def made(**given):
        columns = ["b", "brightness", "c", "contrast", "l", "luma", "h", "hue", "s", "saturation"]
        shut = dict.fromkeys(columns[::2], NO) | dict.fromkeys(columns[1::2], 0.3)
        return ada(x, torch.tensor([[{**shut, **given}[name] for name in columns]], dtype=torch.float64))

    sigma = 0.8413447460685429  # of which the normal quantile is 1
    assert torch.equal(made(), x)
    torch.testing.assert_close(made(b=YES, brightness=sigma), x + 0.2)
    torch.testing.assert_close(made(c=YES, contrast=sigma), x * 2**0.5)
    torch.testing.assert_close(made(l=YES, luma=0.7), x - 2 * mean)
    torch.testing.assert_close(made(s=YES, saturation=sigma), mean + 2 * (x - mean))
    third = made(h=YES, hue=0.5 + 1 / 3)  # a third of a turn about the greys: channels go round
    torch.testing.assert_close(third, x[:, [2, 0, 1]])
    torch.testing.assert_close(made(b=YES, brightness=sigma, c=YES, contrast=sigma), (x + 0.2) * 2**0.5)
    grey = ADA("color", target=None, p=0.5)(x[:, :1], torch.tensor([[NO, 0, NO, 0, YES, 0.7, YES, 0.2, YES, 0.9]]))
    torch.testing.assert_close(grey, -x[:, :1])  # hue and saturation have no meaning


def test_bands_add_up_and_gains_keep_a_usual_image_s_power():
    x = images(3, 2, 12, 10)
    torch.testing.assert_close(amplify(x, torch.ones(3, 4, dtype=torch.float64)), x)
    torch.testing.assert_close(amplify(x, torch.full((3, 4), 3.0, dtype=torch.float64)), 3 * x)
    flat = torch.full((1, 1, 12, 12), 0.4, dtype=torch.float64)
    torch.testing.assert_close(amplify(flat, torch.tensor([[1.0, 5, 6, 7]], dtype=torch.float64)), flat)
    gains = normalised_gains(2, torch.tensor([3.0], dtype=torch.float64))[0]
    power = torch.tensor(POWER, dtype=torch.float64) / 13
    assert (power * gains.square()).sum().item() == pytest.approx(1)
    assert (gains[2] / gains[0]).item() == pytest.approx(3)


@pytest.mark.parametrize("augmentation", [DiffAugment(), ALL(p=0.6)], ids=["DiffAugment", "ADA"])
def test_first_and_second_derivatives_are_finite_differences(augmentation):
    shape = (2, 4, 2)
    numbers, x = uniform(2, augmentation, shape), images(2, *shape).requires_grad_()

    def seen(x):
        return augmentation(x, numbers).tanh()

    assert torch.autograd.gradcheck(seen, (x,))
    assert torch.autograd.gradgradcheck(seen, (x,))


@pytest.mark.parametrize(
    "penalty", [R1(weight=0.7), R2(weight=0.7), R1R2(weight=0.7), DRAGAN(0.7, variance=0.1)], ids=str
)
@pytest.mark.parametrize("augmentation", [DiffAugment(), ALL(p=0.6)], ids=["DiffAugment", "ADA"])
def test_penalties_of_images_look_through_the_augmentation(penalty, augmentation):
    """‖∇ D(T x)‖² by central differences in every value of x, and the penalty's own gradient in D's weights."""
    shape, n, step = (2, 4, 3), 3, 1e-5
    critic, view = Smooth(*shape), View(augmentation=augmentation, image_shape=shape)
    real, fake = images(n, *shape), images(n, *shape, seed=2)
    epsilon = torch.rand(n, *penalty.epsilon_shape(shape), dtype=torch.float64) * 0.8 + 0.1
    numbers = uniform(n, augmentation, shape), uniform(n, augmentation, shape, seed=5)
    seen = BothViewed(Judge(critic), view, *numbers)

    def squared_norms(points, of_points):
        norms = torch.zeros(n, dtype=torch.float64)
        for place in itertools.product(*map(range, shape)):
            ends = []
            for sign in (1, -1):
                moved = points.clone()
                moved[(slice(None), *place)] += sign * step
                ends.append(critic(augmentation(moved, of_points)))
            norms += ((ends[0] - ends[1]) / (2 * step)) ** 2
        return norms.detach()

    at = {"R1": [0], "R2": [1], "R1R2": [0, 1]}.get(type(penalty).__name__)
    if at is None:
        points = real + 0.1**0.5 * torch.special.ndtri(epsilon)
        expected = 0.7 * (squared_norms(points, numbers[0]).sqrt() - 1).square().mean()
    else:
        expected = sum(0.35 * squared_norms((real, fake)[i], numbers[i]).mean() for i in at)
    value, gradient = gradient_of(penalty, seen, real, fake, epsilon)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-6, atol=1e-9)
    direction = torch.randn(len(gradient), dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    parameters, ends = list(critic.parameters()), []
    for sign in (1, -1):
        start = torch.nn.utils.parameters_to_vector(parameters).detach()
        torch.nn.utils.vector_to_parameters(start + sign * step * direction, parameters)
        ends.append(penalty(seen, real, fake, epsilon).item())
        torch.nn.utils.vector_to_parameters(start, parameters)
    assert (gradient @ direction).item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_the_controller_by_a_table():
    """p moves by images / speed_images at every fourth update, by the sign of the mean sign, within [0, 1]."""
    ada = ADA(target=0.6, speed_images=1000)
    memory = ada.memory()
    table = [  # mean signs of four updates of 25 images, then p
        ((1, 1, 1, 1), 0.1),
        ((1, 1, 1, 0), 0.2),
        ((0.6, 0.6, 0.6, 0.5), 0.1),
        ((-1, -1, 0, 0), 0.0),
        ((0, 0, 0, 0), 0.0),
        ((1, 0.9, 0.3, 0.3), 0.1),
    ]
    for signs, p in table:
        before = memory.p.item()
        for i, sign in enumerate(signs):
            memory.tell({"real_sign": torch.tensor(float(sign)), "images": torch.tensor(25)})
            assert i == 3 or memory.p.item() == before
        assert memory.p.item() == pytest.approx(p, abs=1e-6)
    for _ in range(60):
        memory.tell({"real_sign": torch.tensor(1.0), "images": torch.tensor(25)})
    assert memory.p.item() == 1.0
    assert ADA(target=None, p=0.3).memory() is None


def test_packed_images_are_transformed_one_by_one():
    shape, augmentation = (2, 6, 5), ALL(p=0.6)
    view = View(pack=3, augmentation=augmentation, image_shape=shape)
    x = images(6, *shape)
    packs, numbers = view.packing.pack(x), uniform(6, augmentation, shape)
    seen = view(packs, numbers.view(2, -1))
    for i, j in itertools.product(range(2), range(3)):
        k = i + 2 * j  # sample i goes with i + N/m, i + 2N/m
        alone = augmentation(x[k : k + 1], numbers[3 * i + j][None])
        torch.testing.assert_close(seen[i, 2 * j : 2 * j + 2], alone[0])


def test_names_are_read_as_texts_lists_and_abbreviations():
    assert ADA("bgc") == ADA(["color", "blit", "geom"]) == ADA("geom, color ,blit")
    assert ADA("bgcfnc").categories == "blit,geom,color,filter,noise,cutout"
    assert DiffAugment(["cutout", "color"]).policy == "cutout,color"  # in the order given


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiffAugment("colour"), "policy='colour': DiffAugment knows no such; did you mean color\\? accepted: "),
        (lambda: DiffAugment("color,color"), "policy='color,color': DiffAugment needs names, each once"),
        (lambda: ADA("geometry"), "categories='geometry': ADA knows no such; .*accepted: blit, geom"),
        (lambda: ADA("bgc,noise"), "categories='bgc,noise': ADA takes one abbreviation or names"),
        (lambda: ADA(p=1.5), "p=1.5: "),
        (lambda: ADA(target=1.0), "target=1.0: "),
        (
            lambda: View(augmentation=ADA(), image_shape=(2,)),
            "augmentation=ADA: it transforms images .* shape .2,.",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
