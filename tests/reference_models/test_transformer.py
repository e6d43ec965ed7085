"""The transformer: what sees what, that caching changes nothing, and the codebook."""

from __future__ import annotations

import torch

from reference_models.transformer import Codec, Config, Prior, TransformerRecipe, choose
from tests.reference_models.families import TINY, batches

CONFIG = Config(shape=(1, 16, 16), classes=4, codes=32, width=32, layers=3, heads=2)
PLACES = 16


def _prior(dtype: torch.dtype = torch.float32) -> Prior:
    torch.manual_seed(0)
    prior = Prior(CONFIG).to(dtype).eval()
    with torch.no_grad():
        for weight in prior.parameters():  # larger than at the start, as after training
            weight.mul_(4)
    return prior


@torch.no_grad()
def test_a_token_sees_the_label_and_what_stands_before() -> None:
    prior = _prior()
    tokens, labels = torch.randint(0, 32, (1, PLACES)), torch.tensor([1])
    plain = prior(tokens, labels)
    assert not torch.allclose(prior(tokens, torch.tensor([2])), plain)
    for place in range(PLACES):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % 32
        moved = (prior(changed, labels) - plain).abs().amax(-1)[0] > 1e-6
        assert not moved[: place + 1].any()
        assert moved[place + 1 :].all()


@torch.no_grad()
def test_steps_give_the_logits_of_a_whole_pass() -> None:
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-12)):
        prior = _prior(dtype)
        tokens, labels = torch.randint(0, 32, (5, PLACES)), torch.arange(5) % 4
        past: list = [None] * len(prior.layers)
        found, embedded = [], prior.label_embedding(labels)
        for place in range(PLACES):
            logits, past = prior.step(embedded, place, past)
            found.append(logits)
            embedded = prior.token_embedding(tokens[:, place])
        torch.testing.assert_close(
            torch.stack(found, dim=1), prior(tokens, labels), rtol=0, atol=tolerance
        )


@torch.no_grad()
def test_cached_and_naive_writing_agree() -> None:
    prior, labels = _prior(torch.float64), torch.arange(20) % 4
    uniforms = torch.rand(20, PLACES, generator=torch.Generator().manual_seed(0))
    naive = torch.zeros(20, PLACES, dtype=torch.int64)
    for place in range(PLACES):
        naive[:, place] = choose(prior(naive, labels)[:, place], uniforms[:, place], 1.0)
    assert torch.equal(prior.write(labels, uniforms), naive)


def test_choices_follow_the_shares() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    count = 100_000
    uniforms = torch.rand(count, generator=torch.Generator().manual_seed(0))
    found = torch.bincount(choose(logits.expand(count, -1), uniforms, 1.0), minlength=4) / count
    torch.testing.assert_close(found, logits.softmax(0), rtol=0, atol=0.006)
    edges = choose(logits.expand(2, -1), torch.tensor([0.0, 1 - 1e-7]), 1.0)
    assert edges.tolist() == [0, 3]
    cold = choose(logits.expand(count, -1), uniforms, 0.05)
    assert (cold == 2).float().mean() > 0.999


def test_tokens_are_the_nearest_entries() -> None:
    torch.manual_seed(0)
    codec = Codec(CONFIG)
    codes = torch.randn(3, CONFIG.code_dim, 4, 4)
    rows = codes.movedim(1, -1).flatten(0, 2)
    expected = torch.cdist(rows, codec.codebook).argmin(1).unflatten(0, (3, 4, 4))
    assert torch.equal(codec.tokens(codes), expected)
    own = codec.entries(expected)
    assert torch.equal(codec.tokens(own), expected)


def test_the_codec_is_learnt_first_and_then_left_alone() -> None:
    recipe = TINY["transformer"].made()
    assert isinstance(recipe, TransformerRecipe)
    moved: list[tuple[bool, bool]] = []
    for epoch in range(4):
        before = [
            {k: v.clone() for k, v in part.state_dict().items()}
            for part in (recipe.model.codec, recipe.prior)
        ]
        recipe.begin(epoch, 4)
        for images, labels in batches(epoch):
            recipe.step(images, labels)
        after = (recipe.model.codec.state_dict(), recipe.prior.state_dict())
        moved.append(
            tuple(
                any(not torch.equal(a[k], b[k]) for k in b)
                for a, b in zip(after, before, strict=True)
            )  # type: ignore[arg-type]
        )
    assert moved == [(True, False), (True, False), (False, True), (False, True)]


def test_idle_entries_of_the_codebook_are_brought_back() -> None:
    recipe = TINY["transformer"].made()
    assert isinstance(recipe, TransformerRecipe)
    with torch.no_grad():
        recipe.model.codec.codebook[1:] += 1000  # all but one out of reach
        recipe.sums.copy_(recipe.model.codec.codebook)
        recipe.counts.fill_(1)
    recipe.begin(0, 10)
    used = torch.zeros(())
    for epoch in range(150):
        for images, labels in batches(epoch):
            used = recipe.step(images, labels)["codebook in use"]
    assert used > 0.5
