"""What a cluster's scheduler throws into a worker, recognised by its type. Imports no torch."""

import sys


def interruptions() -> tuple[type[Exception], ...]:
    """The exceptions by which submitit ends a task (timeout, pre-emption) or tells that it was lost.

    Whoever is started by submitit has imported it; where nobody has, nothing of it can be raised.
    """
    submitit = sys.modules.get("submitit.core.utils")
    return (submitit.UncompletedJobError, submitit.FailedSubmissionError) if submitit else ()
