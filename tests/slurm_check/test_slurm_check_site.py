"""What Slurm's commands print becomes partitions, limits and accounts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.slurm_check.site import (
    COMMANDS,
    Association,
    NodeGroup,
    SlurmError,
    ask,
    gpus_of,
    minutes_of,
    partitions_of,
    read_site,
    settings_of,
)

# sinfo -h -o "%P|%a|%l|%c|%m|%G|%D|%T" of a mixed site
SINFO = """\
batch*|up|2-00:00:00|64|256000|(null)|40|mixed
batch*|up|2-00:00:00|64|256000|(null)|2|down*
gpu|up|12:00:00|48+|512000+|gpu:a100:4(S:0-1),nvme:1|6|idle
debug|down|30:00|8|16000|gpu:2|1|idle
"""


def test_partitions_of_a_mixed_site():
    batch, gpu, debug = partitions_of(SINFO)
    assert (batch.name, batch.default, batch.up, batch.minutes) == ("batch", True, True, 2880)
    assert batch.n_nodes == 40  # two are down
    assert gpu.groups == (NodeGroup(6, 48, 512000, 4, "idle"),)
    assert not gpu.default
    assert gpu.minutes == 720
    assert (debug.up, debug.minutes, debug.groups[0].gpus) == (False, 30, 2)


def test_the_nodes_that_fit_a_request():
    batch, gpu, _ = partitions_of(SINFO)
    assert batch.fits(64, 256000) == 40
    assert batch.fits(65, 1000) == 0
    assert batch.fits(1, 1000, gpus=1) == 0
    assert gpu.fits(8, 64000, gpus=4) == 6
    assert gpu.fits(8, 64000, gpus=5) == 0


@pytest.mark.parametrize("line", ["", "a|b", "cpu|up|1:00|x|1|(null)|1|idle", "Slurm is down"])
def test_a_line_of_another_form_is_refused(line):
    with pytest.raises(SlurmError, match="cannot read its line"):
        partitions_of(f"batch*|up|1:00|1|1|(null)|1|idle\n{line}\n")


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [
        ("infinite", math.inf),
        ("30", 30),
        ("30:00", 30),
        ("1:30", 1.5),
        ("12:00:00", 720),
        ("1-00:00:00", 1440),
        ("2-12:30:30", 2 * 1440 + 12 * 60 + 30.5),
    ],
)
def test_minutes_of_a_limit(limit, minutes):
    assert minutes_of(limit) == minutes


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_minutes_of_any_limit_that_slurm_writes(days, hours, minutes, seconds):
    text = f"{days}-{hours:02}:{minutes:02}:{seconds:02}"
    assert minutes_of(text) == pytest.approx(days * 1440 + hours * 60 + minutes + seconds / 60)


@pytest.mark.parametrize(
    ("gres", "n"),
    [
        ("(null)", 0),
        ("gpu:4", 4),
        ("gpu:a100:4", 4),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:2(S:0),gpu:v100:1(S:1)", 3),
        ("nvme:1,gpu:h100:8(S:0-1)", 8),
        ("mygpu:3", 0),
    ],
)
def test_gpus_of_a_node(gres, n):
    assert gpus_of(gres) == n


def test_settings_keep_values_with_an_equals_sign():
    text = "Configuration data as of 2026\nMinJobAge               = 300 sec\nX = a=b\n"
    assert settings_of(text) == {"MinJobAge": "300 sec", "X": "a=b"}


def answers(**changes):
    """The commands of a site, as a function in place of `ask`."""
    given = {
        "sinfo --version": "slurm 24.05.1",
        "scontrol ping": "Slurmctld(primary) at head is UP",
        "scontrol show config": "KillWait = 30 sec\nJobRequeue = 1",
        "sinfo -h": SINFO,
        "sacct -n": "",
        "sacctmgr -nP show assoc": "lab|gpu|50\nlab||\nlab||\nother||",
        "sacctmgr -nP show user": "lab\n",
    } | changes

    def answer(*command: str) -> str:
        line = " ".join(command)
        found = next(text for start, text in given.items() if line.startswith(start))
        if isinstance(found, Exception):
            raise found
        return found

    return answer


@pytest.fixture
def _with_slurm(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")


@pytest.mark.usefixtures("_with_slurm")
def test_a_whole_site():
    site = read_site(answers())
    assert site.accounting == ""
    assert site.seconds("KillWait") == 30
    assert site.seconds("NoSuchSetting") is None
    assert site.associations == (
        Association("lab", "gpu", 50),
        Association("lab"),
        Association("other"),
    )
    assert site.default_account == "lab"
    assert site.partition(None).name == "batch"
    assert site.partition("gpu").name == "gpu"
    assert site.partition("none") is None


@pytest.mark.usefixtures("_with_slurm")
def test_a_site_without_accounting_has_no_accounts():
    refused = SlurmError("sacct: Slurm accounting storage is disabled")
    site = read_site(answers(**{"sacct -n": refused, "sacctmgr -nP show assoc": refused}))
    assert "disabled" in site.accounting
    assert site.associations == ()


def test_a_machine_without_slurm_is_told_where_to_run(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(SlurmError, match="run the check on a login node"):
        read_site(answers())


@pytest.mark.usefixtures("_with_slurm")
def test_a_controller_that_does_not_answer_is_an_error():
    down = SlurmError("scontrol ping: Slurmctld(primary) at head is DOWN")
    with pytest.raises(SlurmError, match="DOWN"):
        read_site(answers(**{"scontrol ping": down}))


def test_a_missing_command_is_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda n: None if n == "scancel" else n)
    assert read_site(answers()).missing == ("scancel",)
    assert "scancel" in COMMANDS


@pytest.mark.study
def test_errors_of_commands_are_told():
    with pytest.raises(SlurmError, match=r"sh -c echo no >&2; exit 3: no$"):
        ask("sh", "-c", "echo no >&2; exit 3")
    with pytest.raises(SlurmError, match=r"no-such-program: No such file"):
        ask("no-such-program")
    with pytest.raises(SlurmError, match=r"no answer within 0\.1 s"):
        ask("sleep", "30", seconds=0.1)
