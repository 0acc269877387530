"""What `radiolucent evaluate` does: the function of each protocol."""

from __future__ import annotations

from radiolucent.commands.evaluate.nodules import run_nodules
from radiolucent.commands.evaluate.privacy import run_privacy
from radiolucent.commands.evaluate.suppression import run_suppression
from radiolucent.commands.evaluate.synthesis import run_synthesis
from radiolucent.commands.evaluate.utility import run_utility
from radiolucent.commands.evaluate.views import run_views

RUN = {
    "suppression": run_suppression,
    "nodules": run_nodules,
    "synthesis": run_synthesis,
    "privacy": run_privacy,
    "utility": run_utility,
    "views": run_views,
}
