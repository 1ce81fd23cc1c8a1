"""Pictures decode back to the pixels that went in."""

import io

import numpy as np
import plain
import pytest
import torch
from PIL import Image
from small import HEIGHT, ODD, WIDTH, config, mixture

from moevae.visualization import samples

SHADES = np.random.default_rng(0).integers(0, 256, (2, 3, HEIGHT * WIDTH))


def decoded(png):
    return np.array(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize(("scale", "gap"), [(1, 0), (3, 0), (1, 2), (2, 1)])
def test_every_tile_is_in_its_place(scale, gap):
    picture = decoded(samples.tiles(SHADES / 255, HEIGHT, WIDTH, scale, gap))
    tall, wide = HEIGHT * scale + gap, WIDTH * scale + gap
    assert picture.shape == (2 * tall - gap, 3 * wide - gap)
    for row, column in np.ndindex(2, 3):
        tile = picture[row * tall :, column * wide :][: HEIGHT * scale : scale, : WIDTH * scale : scale]
        assert np.array_equal(tile, SHADES[row, column].reshape(HEIGHT, WIDTH))


@pytest.mark.parametrize("shades", [256, 16, 4])
def test_fewer_shades_are_the_nearest_of_them_even_in_a_picture_already_drawn(shades):
    levels = np.linspace(0, 255, shades)
    whole = decoded(samples.tiles(SHADES / 255, HEIGHT, WIDTH)).astype(float)
    few = decoded(samples.tiles(SHADES / 255, HEIGHT, WIDTH, shades=shades))
    nearest = levels[np.abs(whole[..., None] - levels).argmin(-1)]
    assert np.array_equal(few, nearest)
    assert np.array_equal(decoded(samples.tiles(few[None, None] / 255, *few.shape, shades=shades)), few)


def test_values_beyond_black_and_white_are_cut():
    picture = decoded(samples.tiles(torch.tensor([[[-3.0, 0.0, 0.5, 1.0, 9.0]]]), 1, 5))
    assert picture.tolist() == [[0, 0, 128, 255, 255]]


def test_the_same_images_give_the_same_bytes():
    assert samples.tiles(SHADES / 255, HEIGHT, WIDTH) == samples.tiles(SHADES / 255, HEIGHT, WIDTH)


def test_latents_of_pictures_are_each_runs_own_and_stay():
    run = config(ODD)
    together, alone = mixture(run, seeds=(3, 4)), mixture(run, seeds=(4,))
    noise = samples.prior_noise(together, 2)
    assert noise.shape == (2, 7, 2, 3)
    assert torch.equal(noise[1], samples.prior_noise(alone, 2)[0])
    assert torch.equal(noise, samples.prior_noise(together, 2))


def test_reconstructions_are_those_of_the_likeliest_expert():
    model = mixture(config(ODD), seeds=(0, 1))
    x = torch.rand(9, HEIGHT * WIDTH, generator=torch.Generator().manual_seed(0)).double()
    found = samples.reconstructions(model, x)
    for run in range(2):
        winners = plain.gate(model, run)(x).argmax(1)
        assert winners.unique().numel() > 1
        for image, winner in enumerate(winners.tolist()):
            vae = plain.expert(model, run, winner)
            mean = vae.decoder(vae.encoder(x[image])[:3]).sigmoid()
            torch.testing.assert_close(found[run, image], mean)


def test_the_mean_of_an_expert_is_that_of_its_images():
    images, experts = torch.rand(30, 5), np.arange(30) % 3
    found = samples.mean_images(images, experts, 4)
    for expert in range(3):
        torch.testing.assert_close(found[expert], images[experts == expert].mean(0))
    assert not found[3].any()
