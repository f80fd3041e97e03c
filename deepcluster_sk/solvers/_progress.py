"""Progress bars, in terminals and notebooks."""

from tqdm.auto import tqdm


class PhaseBar(tqdm):
    """A bar over the epochs, or sweeps, of a phase.

    Parameters
    ----------
    verbose : int
        0 shows nothing, 1 the loss behind the bar, more its terms too.
    **kwargs : dict
        Those of ``tqdm``.
    """

    def __init__(self, verbose, **kwargs):
        self.verbose = verbose
        super().__init__(disable=not verbose, **kwargs)

    def show(self, row, stop_reason=None):
        """Write what an epoch was behind the bar, and at the end why the phase ended.

        Parameters
        ----------
        row : dict of str to float
            A row of ``history_``: "loss", its terms, and what else was recorded.
        stop_reason : str or None, default=None
        """
        names = [n for n in row if n not in ("phase", "epoch")]
        names = names if self.verbose > 1 else ["loss"]
        said = {name: f"{row[name]:.4g}" for name in names}
        if stop_reason is not None:
            said["stop_reason"] = stop_reason
        self.set_postfix(said)


def part_bar(verbose, desc, **kwargs):
    """A bar over the steps of what is a part of a fit.

    Within the bar of another one it disappears when it is full.

    Parameters
    ----------
    verbose : int
        0 shows nothing.
    desc : str
        What is done.
    **kwargs : dict
        Those of ``tqdm``.
    """
    return tqdm(desc=desc, disable=not verbose, leave=None, **kwargs)
