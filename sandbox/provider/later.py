"""The provider's errands, done when their time has come: each is a call without a request, in one transaction."""

from collections.abc import Callable

from sandbox.books import errands
from sandbox.books.bank import Bank
from sandbox.books.errands import Errand
from sandbox.faults.armed import Faults
from sandbox.provider import attempts, dashboard, refunds, routes
from sandbox.provider.calls import API_VERSION, Call
from sandbox.provider.execute import roll_back
from sandbox.provider.wire import ProviderError
from sandbox.webhooks.postman import Postman


class Later:
    """Does errands."""

    def __init__(self, bank: Bank, faults: Faults, postman: Postman) -> None:
        self._bank = bank
        self._faults = faults
        self._postman = postman

    def __call__(self, errand: Errand) -> None:
        """Do it and forget it; what has become impossible meanwhile is only forgotten."""
        request = (errand.details.get("request_id"), errand.details.get("key"))
        version = errand.details.get("version", API_VERSION)
        call = Call(self._bank, self._faults, errand.account, *request, version)
        try:
            with self._bank.transaction():
                _do(call, errand)
                errands.strike_out(self._bank, errand)
        except ProviderError:
            errands.strike_out(self._bank, errand)
        self._postman.deliver_early(call.early)


def _do(call: Call, errand: Errand) -> None:
    try:
        ERRANDS[errand.name](call, errand)
    except ProviderError as error:
        # A decline has its effect although it is an error.
        if not error.executed:
            raise


def _roll_forward(call: Call, errand: Errand) -> None:
    routes.find(errand.details["method"], errand.subject).run(call, errand.details["form"])


ERRANDS: dict[str, Callable[[Call, Errand], object]] = {
    "expire_authorization": lambda call, errand: attempts.expire(call, errand.subject, errand.details["charge"]),
    "settle_refund": lambda call, errand: refunds.settle(call, errand.subject, errand.details["status"]),
    "roll_forward": _roll_forward,
    "roll_back": lambda call, errand: roll_back(call.bank, errand.details["before"], errand.details["after"]),
    "dashboard": lambda call, errand: dashboard.act(
        call, errand.details["action"], errand.subject, errand.details["amount"]
    ),
}
