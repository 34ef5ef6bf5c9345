"""Runs generated programs, which are hostile until proven otherwise, against trusted tests."""

from .api import Job, Level, Limits, Result, SandboxError, Verdict
from .probe import Probe, probe
from .supervisor import Sandbox

__all__ = [
    "Job",
    "Level",
    "Limits",
    "Probe",
    "Result",
    "Sandbox",
    "SandboxError",
    "Verdict",
    "probe",
]
