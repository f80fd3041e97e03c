"""Progress bars of phases."""

from tqdm.auto import tqdm


class PhaseBar(tqdm):
    """A bar over the epochs, or sweeps, of a phase."""

    def show(self, loss, stop_reason=None):
        """Write the loss behind the bar, and at the end why the phase ended."""
        said = {"loss": f"{loss:.4g}"}
        if stop_reason is not None:
            said["stop_reason"] = stop_reason
        self.set_postfix(said)
