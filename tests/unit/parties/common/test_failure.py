"""What a bug tells the other side, and the log."""

from __future__ import annotations

from unittest.mock import Mock

import grpc
import pytest

from parties.common.failure import answering


@pytest.mark.parametrize("active", [True, False])
def test_a_bug_travels_and_is_logged_without_its_text(active: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The caller hears INTERNAL and where to look; neither it nor the log gets the exception's message."""
    secret = str(7**20)  # computed, as the log quotes source lines
    context = Mock(spec=grpc.ServicerContext)
    context.is_active.return_value = active
    context.abort_with_status.side_effect = Exception
    with pytest.raises(Exception), answering(context, "party0"):  # noqa: B017, PT011  # gRPC raises a bare one
        raise ValueError(secret)
    assert context.abort_with_status.called is active
    if active:
        (status,) = context.abort_with_status.call_args.args
        assert status.code is grpc.StatusCode.INTERNAL
        assert "log of party0" in status.details
        assert secret not in str(status)
        assert "ValueError" in caplog.text
    assert secret not in caplog.text
