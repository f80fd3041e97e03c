import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler

from deepcluster_sk import IDEC, Autoencoder, load
from deepcluster_sk._estimator._network_base import add_noise
from deepcluster_sk._training._callbacks import StopOnPlateau
from deepcluster_sk._training._data import Batches, Rows, resolve_device
from deepcluster_sk._training._net import INFERENCE_ROWS, FusedAdam
from deepcluster_sk.modules import MLPAutoencoder


@pytest.fixture
def X():
    return np.random.RandomState(0).randn(70, 5).astype(np.float32)


def small(**kwargs):
    settings = {"hidden_layer_sizes": (8,), "latent_dim": 2, "random_state": 0}
    return Autoencoder(**{**settings, "max_epochs": 5, "tol": 0, **kwargs})


def test_batches_cover_every_row_once_in_nearly_equal_parts():
    rows = Rows(np.arange(257, dtype=np.float32)[:, None], torch.device("cpu"))
    batches = Batches(rows, 256, torch.Generator().manual_seed(0))
    first, second = list(batches), list(batches)
    assert sorted(len(index) for _, index in first) == [128, 129]
    assert sorted(torch.cat([i for _, i in first]).tolist()) == list(range(257))
    assert not torch.equal(first[0][1], second[0][1])
    for x, index in first:
        assert torch.equal(x[:, 0].long(), index)


@pytest.mark.rounding
def test_training_equals_a_hand_written_loop(X):
    """Same seed, same batches, same optimiser: the same weights."""
    fitted = small(batch_size=32).fit(X)
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = MLPAutoencoder(5, 2, (8,))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(int(seed))
    data, losses = torch.from_numpy(X), []
    for _ in range(5):
        total = 0.0
        for index in torch.randperm(70, generator=generator).tensor_split(3):
            optimizer.zero_grad()
            x = data[index]
            loss = (module(x).reconstruction - x).square().mean()
            loss.backward()
            optimizer.step()
            total += len(index) * loss.item()
        losses.append(total / 70)
    assert_allclose([row["loss"] for row in fitted.history_], losses, rtol=1e-6)
    for ours, theirs in zip(
        fitted.module_.parameters(), module.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.rounding
def test_a_row_does_not_depend_on_its_company(X):
    model = small().fit(X)
    many = np.random.RandomState(1).randn(3 * INFERENCE_ROWS + 7, 5)
    together = model.transform(many)
    start = INFERENCE_ROWS
    for n in (1, 2, 100):
        alone = model.transform(many[start : start + n])
        assert np.array_equal(alone, together[start : start + n])
    # At another position in the chunk a BLAS kernel may round differently.
    backwards = model.transform(many[::-1].copy())[::-1]
    assert_allclose(backwards, together, rtol=1e-5, atol=2e-7)


def test_early_stopping_of_skorch_ends_the_phase_quietly(X):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=0.9, sink=len)
    model = small(max_epochs=50, callbacks=[stop]).fit(X)
    assert 2 <= model.n_iter_ < 50


class Recorder(Callback):
    def __init__(self):
        self.events_ = []

    def on_train_begin(self, net, **kwargs):
        self.events_.append("train begin")

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.events_.append(("batch begin", len(batch[0]), training))

    def on_batch_end(self, net, **kwargs):
        loss = net.history[-1, "batches", -1, "train_loss"]
        self.events_.append(("batch end", np.isfinite(loss)))

    def on_epoch_end(self, net, **kwargs):
        self.events_.append(("epoch end", net.history[-1, "train_loss"]))


def test_callbacks_that_listen_to_batches_get_them(X):
    recorder = Recorder()
    model = small(batch_size=35, max_epochs=2, callbacks=[recorder]).fit(X)
    batch = [("batch begin", 35, True), ("batch end", True)]
    losses = [("epoch end", row["loss"]) for row in model.history_]
    assert recorder.events_ == [
        "train begin",
        *(2 * batch),
        losses[0],
        *(2 * batch),
        losses[1],
    ]


def test_schedulers_and_clipping_of_skorch_work(X):
    constant = small().fit(X)
    scheduled = small(callbacks=[LRScheduler("StepLR", step_size=1, gamma=1e-6)]).fit(X)
    assert scheduled.history_[0]["loss"] == constant.history_[0]["loss"]
    assert scheduled.history_[-1]["loss"] > constant.history_[-1]["loss"]
    frozen = small(
        optimizer="sgd", callbacks=[GradientNormClipping(gradient_clip_value=1e-12)]
    ).fit(X)
    losses = [row["loss"] for row in frozen.history_]
    assert_allclose(losses, losses[0], rtol=1e-6)


def test_plateau_stops_after_the_loss_stops_falling(X):
    model = small(max_epochs=2000, lr=1e-2, tol=1e-3).fit(X)
    assert 20 < model.n_iter_ < 2000
    losses = [row["loss"] for row in model.history_]

    def flat(losses):
        window = max(10, len(losses) // 5)
        before, last = losses[-2 * window : -window], losses[-window:]
        fall = (np.mean(before) - np.mean(last)) * 10 / window
        return fall <= 1e-3 * np.mean(before)

    assert flat(losses)
    assert not any(flat(losses[:n]) for n in range(20, len(losses)))
    assert small(max_epochs=30, lr=1e-9, tol=0).fit(X).n_iter_ == 30
    assert StopOnPlateau(0.1).get_params() == {"tol": 0.1, "patience": 10}


def steps_of(make, n_steps=20, saved_at=None):
    """Weights after steps in which rates fall and some parameters get no gradient."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(5, 7), torch.nn.Linear(7, 2).double()]
    parameters = [p for layer in layers for p in layer.parameters()]
    optimizer, x = make(parameters), torch.randn(20, 5)
    for step in range(n_steps):
        if step == saved_at:
            state = optimizer.state_dict()
            optimizer = make(parameters)
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        code = layers[0](x)
        # At first, and now and then, the second layer has nothing to learn.
        output = layers[1](code.relu().double()) if step % 3 else code
        output.square().mean().backward()
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in parameters])


@pytest.mark.parametrize("saved_at", [None, 10])
def test_fused_adam_makes_the_steps_of_torch(saved_at):
    def torch_adam(parameters):
        return torch.optim.Adam(parameters, lr=0.1, fused=True)

    def own(parameters):
        return FusedAdam(parameters, lr=0.1)

    assert torch.equal(steps_of(own, saved_at=saved_at), steps_of(torch_adam))


def test_fused_adam_starts_where_its_state_was_looked_at():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = FusedAdam([parameter], lr=0.1)
    assert optimizer.state[parameter] == {}
    parameter.grad = torch.ones(2)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((2,), 0.9))


def test_fused_adam_calls_what_was_registered():
    parameter, called = torch.nn.Parameter(torch.ones(2)), []
    optimizer = FusedAdam([parameter], lr=0.1)
    optimizer.register_step_post_hook(lambda *_: called.append("hook"))
    for _ in range(2):
        parameter.grad = torch.ones(2)
        optimizer.step()
    assert called == ["hook"] * 2
    assert optimizer.step(lambda: called.append("closure") or 3.0) == 3.0
    assert called == ["hook"] * 2 + ["closure", "hook"]
    optimizer.zero_grad(set_to_none=False)
    assert parameter.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert parameter.grad is None


def test_optimizer_of_the_users_own(X):
    ours = small().fit(X)
    theirs = small(optimizer=torch.optim.Adam).fit(X)
    assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-3, atol=1e-5)


def test_noise_has_the_right_scale_and_a_generator_of_its_own():
    x = torch.zeros(100_000)
    noisy = add_noise(0.3, x, torch.Generator().manual_seed(0))
    assert float(noisy.std()) == pytest.approx(0.3, rel=0.02)
    assert float(noisy.mean()) == pytest.approx(0, abs=0.01)
    assert torch.equal(noisy, add_noise(0.3, x, torch.Generator().manual_seed(0)))
    assert (x == 0).all()


def test_denoising_training_learns_to_denoise():
    rng = np.random.RandomState(0)
    clean = rng.randn(400, 1) @ rng.randn(1, 10)
    noisy = clean + 0.5 * rng.randn(400, 10)
    model = Autoencoder(
        latent_dim=1,
        hidden_layer_sizes=(),
        noise_std=0.5,
        lr=1e-2,
        max_epochs=200,
        random_state=0,
    ).fit(clean)
    assert np.square(model.denoise(noisy) - clean).mean() < 0.15 * 0.25 * 2


def test_linear_autoencoder_reaches_pca():
    from sklearn.decomposition import PCA

    rng = np.random.RandomState(0)
    X = rng.randn(300, 6) @ rng.randn(6, 6)
    model = Autoencoder(
        latent_dim=2,
        hidden_layer_sizes=(),
        lr=1e-2,
        max_epochs=500,
        tol=1e-6,
        random_state=0,
    ).fit(X)
    pca = PCA(2).fit(X)
    best = np.square(X - pca.inverse_transform(pca.transform(X))).mean()
    assert model.objective_ == pytest.approx(best, rel=0.02)


@pytest.mark.rounding
def test_inverse_transform_decodes(X):
    model = small().fit(X)
    decoded = model.inverse_transform(model.transform(X))
    assert np.array_equal(decoded, model.reconstruct(X))
    with pytest.raises(ValueError, match=r"3 columns, but .* latent_dim=2"):
        model.inverse_transform(np.ones((4, 3)))


def test_device_names():
    assert resolve_device("auto").type in ("cuda", "mps", "cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("matrices", [True, False])
def test_auto_takes_bfloat16_where_the_processor_multiplies_matrices_of_it(
    matrices, monkeypatch, blobs, tmp_path
):
    found = {"amx_bf16": matrices}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    short = {"hidden_layer_sizes": (8,), "pretrain_epochs": 2, "max_epochs": 2}
    model = IDEC(3, precision="auto", device="cpu", random_state=0, **short)
    model.fit(blobs[0])
    name = "bfloat16" if matrices else "float32"
    assert model.precision_ == name
    same = clone(model).set_params(precision=name).fit(blobs[0])
    assert model.objective_ == same.objective_
    # On another machine the network that was saved computes as it did.
    model.save(tmp_path / "model.safetensors")
    found["amx_bf16"] = not matrices
    again = load(tmp_path / "model.safetensors")
    assert again.precision_ == name
    assert_array_equal(again.transform(blobs[0]), model.transform(blobs[0]))
