"""What Slurm says about itself: partitions, nodes, accounting, limits.

Only the text output of Slurm's commands is read: its JSON output depends on plugins that many sites
do not build.
"""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

COMMANDS = ("sbatch", "squeue", "scontrol", "sinfo", "srun", "scancel")
# partition, state, time limit, then CPUs, memory, generic resources, number and state of its nodes
NODE_GROUPS = "%P|%a|%l|%c|%m|%G|%D|%T"
NOT_USABLE = ("down", "drain", "fail", "maint", "unknown", "inval", "power")  # starts of states
UNLIMITED = float("inf")
ANSWER_SECONDS = 60
Ask = Callable[..., str]


class SlurmError(ValueError):
    """Slurm cannot be asked, or refuses what was asked of it."""


@dataclass(frozen=True)
class NodeGroup:
    """Nodes of one partition that are alike.

    Attributes
    ----------
    mem_mb : int
        Memory of one node in MB.
    gpus : int
        GPUs of one node.
    state : str
        As `sinfo` writes it, for example ``idle`` or ``drained*``.
    """

    n_nodes: int
    cpus: int
    mem_mb: int
    gpus: int
    state: str

    @property
    def usable(self) -> bool:
        """Whether jobs are started on these nodes, now or when others have ended."""
        return not self.state.lower().startswith(NOT_USABLE)


@dataclass(frozen=True)
class Partition:
    """A partition and its nodes; `minutes` is its time limit, infinite where it has none."""

    name: str
    default: bool
    up: bool
    minutes: float
    groups: tuple[NodeGroup, ...] = ()

    @property
    def usable(self) -> list[NodeGroup]:
        """Groups of nodes on which jobs can start."""
        return [group for group in self.groups if group.usable]

    @property
    def n_nodes(self) -> int:
        """Number of usable nodes."""
        return sum(group.n_nodes for group in self.usable)

    def fits(self, cpus: int, mem_mb: int, gpus: int = 0) -> int:
        """Number of usable nodes that have at least these resources."""
        return sum(
            g.n_nodes
            for g in self.usable
            if g.cpus >= cpus and g.mem_mb >= mem_mb and g.gpus >= gpus
        )


@dataclass(frozen=True)
class Association:
    """An account that the user may charge; `max_submit` is its limit of submitted jobs, if any."""

    account: str
    partition: str = ""
    max_submit: int | None = None


@dataclass(frozen=True)
class Site:
    """A Slurm site as seen from this machine.

    Attributes
    ----------
    settings : dict
        Of ``scontrol show config``.
    accounting : str
        Empty if ``sacct`` answers, otherwise what it says.
    missing : tuple of str
        Commands that are not found.
    """

    version: str
    controller: str
    settings: dict[str, str]
    partitions: tuple[Partition, ...]
    accounting: str
    associations: tuple[Association, ...] = ()
    default_account: str = ""
    missing: tuple[str, ...] = field(default=())

    def seconds(self, setting: str) -> float | None:
        """A duration among the settings, in s; None if it is not there."""
        found = re.match(r"(\d+)", self.settings.get(setting, ""))
        return float(found.group(1)) if found else None

    def partition(self, name: str | None) -> Partition | None:
        """The partition of this name, or the default one for None."""
        wanted = (p for p in self.partitions if (p.default if name is None else p.name == name))
        return next(wanted, None)


def ask(*command: str, seconds: float = ANSWER_SECONDS) -> str:
    """The output of a command.

    Raises
    ------
    SlurmError
        If it fails or does not answer; the message contains the command and its error.
    """
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{' '.join(command)}: no answer within {seconds:g} s") from None
    except OSError as error:
        raise SlurmError(f"{command[0]}: {error.strerror}") from None
    if answer.returncode:
        reason = (answer.stderr or answer.stdout).strip()
        raise SlurmError(f"{' '.join(command)}: {reason or f'status {answer.returncode}'}")
    return answer.stdout.strip()


def read_site(ask: Ask = ask) -> Site:
    """Ask Slurm about itself.

    Raises
    ------
    SlurmError
        If this machine has no Slurm commands, or the controller does not answer.
    """
    missing = tuple(name for name in COMMANDS if shutil.which(name) is None)
    if len(missing) == len(COMMANDS):
        raise SlurmError(
            f"{', '.join(COMMANDS)} are not found: this machine cannot submit jobs to Slurm; run "
            "the check on a login node, after `module load slurm` where the site needs that"
        )
    return Site(
        version=ask("sinfo", "--version"),
        controller=ask("scontrol", "ping"),
        settings=settings_of(ask("scontrol", "show", "config")),
        partitions=partitions_of(ask("sinfo", "-h", "-o", NODE_GROUPS)),
        accounting=_failure(ask, "sacct", "-n", "-X", "-P", "-o", "JobID", "-S", "now"),
        **_accounts(ask),
        missing=missing,
    )


def settings_of(text: str) -> dict[str, str]:
    """The settings in the output of ``scontrol show config``."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def partitions_of(text: str) -> tuple[Partition, ...]:
    """The partitions in the output of ``sinfo`` with the format `NODE_GROUPS`.

    Raises
    ------
    SlurmError
        If a line does not have that form.
    """
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        try:
            name, state, limit, cpus, memory, gres, nodes, node_state = line.split("|")
            group = NodeGroup(int(nodes), _number(cpus), _number(memory), gpus_of(gres), node_state)
            minutes = minutes_of(limit)
        except ValueError:
            raise SlurmError(f"sinfo -o {NODE_GROUPS}: cannot read its line {line!r}") from None
        plain = name.removesuffix("*")
        before = found.get(plain)
        groups = (*before.groups, group) if before else (group,)
        found[plain] = Partition(plain, name.endswith("*"), state == "up", minutes, groups)
    return tuple(found.values())


def minutes_of(limit: str) -> float:
    """Minutes of a time limit such as ``infinite``, ``30:00``, ``12:00:00`` or ``2-00:00:00``.

    Raises
    ------
    ValueError
        If it is none.
    """
    if limit in ("infinite", "UNLIMITED", "n/a"):
        return UNLIMITED
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if len(parts) == 1:  # minutes alone
        parts = [0, parts[0], 0]
    hours, minutes, seconds = [0] * (3 - len(parts)) + parts
    return (int(days or 0) * 24 + hours) * 60 + minutes + seconds / 60


def gpus_of(gres: str) -> int:
    """Number of GPUs in a list of generic resources such as ``gpu:a100:4(S:0-1),nvme:1``."""
    found = re.findall(r"(?:^|,)gpu(?::[^:,(]+)?:(\d+)", gres)
    return sum(map(int, found))


def _number(text: str) -> int:
    """A number that `sinfo` may mark with a plus: nodes of the group have at least that."""
    return int(text.rstrip("+"))


def _failure(ask: Ask, *command: str) -> str:
    try:
        ask(*command)
    except SlurmError as error:
        return str(error)
    return ""


def _accounts(ask: Ask) -> dict:
    """Accounts of the user; none where the site has no accounting database."""
    user = getpass.getuser()
    fields = "format=Account,Partition,MaxSubmit"
    try:
        lines = ask("sacctmgr", "-nP", "show", "assoc", f"user={user}", fields).splitlines()
        default = ask("sacctmgr", "-nP", "show", "user", user, "format=DefaultAccount")
    except SlurmError:
        return {}
    rows = dict.fromkeys(tuple(line.split("|")) for line in lines if line.count("|") == 2)
    known = [Association(a, p, int(m) if m.isdigit() else None) for a, p, m in rows]
    return {"associations": tuple(known), "default_account": default.strip()}
