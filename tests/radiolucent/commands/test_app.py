from __future__ import annotations

from argparse import Namespace
from importlib.util import find_spec

import pytest

from radiolucent.commands import app


@pytest.mark.parametrize("missing", ["gradio", "websockets"])
def test_what_the_page_lacks_is_said_before_it_starts(missing, monkeypatch):
    monkeypatch.setattr(app, "find_spec", lambda name: None if name == missing else find_spec("json"))
    with pytest.raises(ValueError, match=rf"{missing}, which is not installed: pip install 'radiolucent\[app\]'"):
        app.run(Namespace())
