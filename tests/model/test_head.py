import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.model.head import CHUNK_ROWS, IGNORE, Head


def made(rows, z_loss, seed, dtype, vocabulary=50):
    generator = torch.Generator().manual_seed(seed)
    head = Head(16, vocabulary, z_loss).to(dtype)
    torch.nn.init.normal_(head.weight, generator=generator)
    hidden = torch.randn(rows, 16, generator=generator, dtype=dtype, requires_grad=True)
    labels = torch.randint(0, vocabulary, (rows,), generator=generator)
    labels[torch.rand(rows, generator=generator) < 0.2] = IGNORE
    return head, hidden, labels


def plain(head, hidden, labels):
    """(total, nats) with the whole table of logits."""
    logits = F.linear(hidden, head.weight)
    nats = F.cross_entropy(logits, labels, reduction="sum")
    squares = logits.logsumexp(-1)[labels != IGNORE].square().sum()
    return nats + head.z_loss * squares, nats


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 2 * CHUNK_ROWS + 3),
    z_loss=st.sampled_from([0.0, 1e-2]),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_chunked_loss_and_its_gradients_equal_cross_entropy(rows, z_loss, seed, dtype):
    head, hidden, labels = made(rows, z_loss, seed, dtype)
    total, nats = plain(head, hidden, labels)
    loss = head(hidden, labels)
    tolerance = {torch.float32: {"rtol": 1e-4, "atol": 1e-4}, torch.float64: {}}[dtype]
    torch.testing.assert_close(loss.total, total, **tolerance)
    torch.testing.assert_close(loss.nats, nats, **tolerance)
    got = torch.autograd.grad(loss.total / 7, (hidden, head.weight))
    want = torch.autograd.grad(total / 7, (hidden, head.weight))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_the_gradients_are_those_of_finite_differences(z_loss):
    head, hidden, labels = made(7, z_loss, 1, torch.float64, vocabulary=11)

    def total(hidden, weight):
        return torch.func.functional_call(head, {"weight": weight}, (hidden, labels)).total

    assert torch.autograd.gradcheck(total, (hidden, head.weight))


def test_torch_own_chunked_loss_agrees():
    head, hidden, labels = made(300, 0.0, 2, torch.float32)
    theirs = F.linear_cross_entropy(hidden, head.weight, labels, reduction="sum")
    torch.testing.assert_close(head(hidden, labels).nats, theirs, rtol=1e-5, atol=1e-4)


def test_in_bf16_the_loss_is_fp32_and_near_that_of_fp32():
    head, hidden, labels = made(400, 0.0, 3, torch.float32)
    total, _ = plain(head, hidden, labels)
    want = torch.autograd.grad(total, (hidden, head.weight))
    half, hidden16 = head.bfloat16(), hidden.detach().bfloat16().requires_grad_()
    loss = half(hidden16, labels)
    assert loss.total.dtype == loss.nats.dtype == torch.float32
    assert loss.nats.item() == pytest.approx(total.item(), rel=5e-3)
    got = torch.autograd.grad(loss.total, (hidden16, half.weight))
    for a, b in zip(got, want, strict=True):
        assert (a.float() - b).norm() / b.norm() < 0.02


def test_ignored_labels_count_neither_in_the_loss_nor_in_the_gradients():
    head, hidden, labels = made(40, 1e-3, 4, torch.float64)
    kept = labels != IGNORE
    assert 0 < kept.sum() < 40
    whole, part = head(hidden, labels), head(hidden[kept], labels[kept])
    torch.testing.assert_close(whole.total, part.total)
    assert (torch.autograd.grad(whole.total, hidden)[0][~kept] == 0).all()
    assert head(hidden, torch.full((40,), IGNORE)).total == 0


def test_the_loss_stays_finite_for_logits_of_thousands():
    head = Head(4, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1e4] * 4, [-1e4] * 4, [0.0] * 4]))
    hidden = torch.ones(1, 4, requires_grad=True)
    loss = head(hidden, torch.tensor([2]))
    assert loss.nats.item() == pytest.approx(4e4)
    assert torch.isfinite(torch.autograd.grad(loss.total, hidden)[0]).all()


def test_without_gradients_the_loss_is_the_same_to_the_bit():
    head, hidden, labels = made(60, 1e-3, 5, torch.float32)
    with torch.no_grad():
        quiet = head(hidden, labels)
    assert quiet == head(hidden, labels)
