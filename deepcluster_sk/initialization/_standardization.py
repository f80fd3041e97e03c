"""The origin and scale of the data, and the linear map of the code."""

import torch

# Medians and mixtures are found on so many rows, drawn at random.
START_ROWS = 10_000


def standardize_data(run, block=4096):
    """Let the module see the training data with origin 0 and scale 1.

    The origin is the median of each feature (of the first ``START_ROWS`` of a random
    order): the value that sparse data, such as images on black, mostly have stays
    zero. The scale is common to all features: the root mean square of what differs
    from the origin. Features are made comparable, or not, by who prepares the data.
    """
    rows, n = run.rows, len(run.rows)
    some = torch.from_numpy(run.random_state.permutation(n)[:START_ROWS])
    origin = rows[some].median(dim=0).values
    total = 0.0
    for start in range(0, n, block):
        shifted = rows.part(start, start + block).cpu().double() - origin.cpu()
        total += float(shifted.square().sum())
    scale = (total / (n * len(origin))) ** 0.5
    run.module.set_origin_and_scale(origin, torch.tensor(scale if scale > 0 else 1.0))


def whiten_code(run, ridge=0.1):
    """Give the code of the training data mean 0 and nearly a unit covariance.

    Reconstruction determines a code up to an invertible linear map only, but k-means
    and kernels around centres depend on that map: whichever direction happens to
    be long decides. So the map is chosen: directions of equal variance. Directions
    in which the code hardly varies are not blown up: eigenvalues of the covariance
    count as their value plus ``ridge`` times the mean one. The total variance is h.

    Parameters
    ----------
    run : Run
        The module is a ``CentroidAutoencoder``.
    ridge : float, default=0.1
        What is added to the eigenvalues, relative to their mean.
    """
    module = run.module
    code = run.apply(module.encode).cpu().double()
    mean = code.mean(0)
    covariance = (code - mean).T @ (code - mean) / len(code)
    scale_code(module, mean, covariance, covariance, ridge, torch.ones(()))


def scale_code(module, shift, covariance, measured, ridge, variance):
    """Move the code's origin and make a covariance of it a multiple of the identity.

    Parameters
    ----------
    module : CentroidAutoencoder
    shift : Tensor of shape (h,)
        The new origin.
    covariance : Tensor of shape (h, h)
        What is to become, but for the ridge, the identity times a factor.
    measured : Tensor of shape (h, h)
        The covariance that decides the factor.
    ridge : float
        What is added to the eigenvalues, relative to their mean.
    variance : Tensor of shape ()
        What the mean of the diagonal of ``measured`` becomes.

    Returns
    -------
    linear : Tensor of shape (h, h)
        A code c has become ``(c - shift) @ linear``.
    """
    values, directions = torch.linalg.eigh(covariance)
    average = values.mean()
    if not average > 0:  # all codes are equal; or not finite, as the phase will say
        return torch.eye(len(shift), dtype=torch.double)
    gain = (values.clamp_min(0) + ridge * average).rsqrt()
    linear = directions * gain
    factor = (variance * len(shift) / (linear.T @ measured @ linear).trace()).sqrt()
    inverse = (directions / (gain * factor)).T
    linear = linear * factor
    module.autoencoder.rebase(shift, linear, inverse)
    return linear
