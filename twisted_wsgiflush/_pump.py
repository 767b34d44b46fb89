"""
How an application is called and its iterable pumped, block by block.

It decides when the application is asked for something, and is the one place that
asks: the call, every ``next``, and ``close``, in the request's own context.  What
may be sent is the response's decision; why to rest are the pauses'.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context
from types import GeneratorType
from typing import Any, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from . import _begun
from ._batch import SLICE, Batch
from ._errorlog import ErrorLog
from ._errorpage import error_page, refusal
from ._extensions import Extensions
from ._filewrapper import FileWrapper
from ._pauses import Pause, Pauses
from ._response import Response
from ._rules import Refused
from ._sendfile import FileBlocks, blocks_of
from ._states import HEADERS_SENT
from ._types import Environ, WSGIApplication
from .errors import ApplicationError, InputLost, ResponseError, WrongType

_T = TypeVar("_T")

# Not the class's, or each event would hold the pump, and all that it holds.
_log = Logger()

# From how many seconds on the log names an application that kept the reactor.
BLOCKING = 1.0

_EXHAUSTED = object()
_NOTHING: Iterator[bytes] = iter(())


class Container(Protocol):
    """Whose application it is."""

    @property
    def reactor(self) -> IReactorTime:
        """Takes the steps."""

    @property
    def application(self) -> WSGIApplication:
        """As PEP 3333 says."""

    @property
    def batch(self) -> Batch:
        """What leaves at the end of the turn; nobody's step is to hold that up."""

    @property
    def debug(self) -> bool:
        """Whether a client may see the traceback of an error."""


class Consumer(Protocol):
    """What takes a pump's blocks, and pauses it as ``IConsumer`` says."""

    exact: bool
    """
    Whether all that was sent is with the kernel, unless the pump is paused.

    Then the next block may be asked for at once, or else in the next turn: a block
    that waits for the reactor would wait for the application, too (F1).
    """

    @property
    def takes_files(self) -> bool:
        """Whether a block may be in a file still."""

    @property
    def full(self) -> bool:
        """Whether it had too much to send when the request began."""

    def is_full(self) -> bool:
        """Whether it has by now, of this response, too."""

    @property
    def at_once(self) -> float:
        """Of how many bytes a body may be whose end does not wait for the client."""

    def turn_ends(self) -> None:
        """Let nothing wait for a block to come: none is asked for in this turn."""

    def attach(self, pump: Pump) -> None:
        """
        Pause and resume the pump from now on, and hold its pauses.

        Ends by itself when the response is over.
        """


@implementer(IPushProducer)
class Pump:
    """
    One request's application, from its call to ``close``.

    :param context: everything of the application's runs in it.
    """

    # Few need these; what each request needs is set in __init__, as in Response.
    _application_failed = False
    _named_in_log = False
    _now = 0.0
    _consumer_pause: Pause | None = None

    def __init__(
        self,
        container: Container,
        context: Context,
        response: Response,
        consumer: Consumer,
        environ: Environ,
        extensions: Extensions,
    ) -> None:
        self._container = container
        self._reactor = container.reactor
        self._context = context
        self._response = response
        self._consumer = consumer
        self._environ = environ
        self._error_log: ErrorLog = environ["wsgi.errors"]
        self._extensions = extensions
        self._pauses: Pauses | None = None
        self._app_iter: Iterable[bytes] | None = None
        self._iterator: Iterator[bytes] | FileBlocks = _NOTHING
        self._asking = False
        self._turn: IDelayedCall | None = None
        # Until the batch has left.
        self._waiting = False
        self._begun: list[Callable[[], object]] | None = None

    @property
    def pauses(self) -> Pauses:
        """The reasons to rest."""
        if self._pauses is None:
            self._pauses = Pauses(self.schedule)
        return self._pauses

    def start(self) -> None:
        """
        Call the application, and see its response to the end.

        From now on :meth:`stopProducing` may be called.
        """
        seconds = self._reactor.seconds
        began = seconds()
        try:
            if _begun.in_use:
                self._begun = []
                self._context.run(_begun.begun.set, self._begun)
            # As _ask has it, which takes longer: this is done for every request.
            self._asking = True
            try:
                app_iter: Any = self._context.run(
                    self._container.application,
                    self._environ,
                    self._response.start_response,
                )
            except BaseException:  # Whatever it raises is its own.
                self._application_failed = True
                raise
            finally:
                self._asking = False
                took = seconds() - began
                if took >= BLOCKING:
                    self._has_blocked(took)
            kind = type(app_iter)
            if (kind is list or kind is tuple) and len(app_iter) < 2:
                self._end_with(app_iter)
            else:
                self._begin(app_iter)
        except BaseException:  # One request's SystemExit is not the server's.
            self._failed(Failure())

    def schedule(self) -> None:
        """Take a step in the next reactor turn, unless there is a reason not to."""
        if self._turn is None and self._may_step:
            self._turn = self._reactor.callLater(0, self._turned)

    @property
    def suspended_since(self) -> float | None:
        """Since when the application is suspended, in the reactor's seconds."""
        return self._now if self._extensions.suspended else None

    def give_up(self, why: str) -> None:
        """
        End the response, for it takes too long; the client may get a 503.

        Call while it is not over.
        """
        _log.warn("{request}: {why}", request=self._response.request_name, why=why)
        try:
            self._response.fail(*refusal(Refused(503, "This takes too long.")))
        finally:
            self._guard(self._close)

    def pauseProducing(self) -> None:
        """The consumer is full."""
        # A transport says this at every write past its buffer size and says
        # resumeProducing once (F3), so one pause stands for them all.
        if self._consumer_pause is None:
            self._consumer_pause = self.pauses.hold("the consumer is full")

    def resumeProducing(self) -> None:
        """The consumer has room again."""
        if self._consumer_pause is not None:
            pause, self._consumer_pause = self._consumer_pause, None
            pause.lift()

    def wait_for_batch(self) -> None:
        """
        The last block leaves with the batch: go on when it has left.

        As a pause, and less work, for many responses begin with it.
        """
        self._waiting = True
        self._container.batch.then(self._batch_left)

    def stopProducing(self) -> None:
        """The client has gone away; may be said more than once (F5)."""
        if self._response.over:
            return
        self._response.lost()
        if not self._asking:  # A generator cannot be closed while it runs.
            self._guard(self._close)

    def _end_with(self, app_iter: list[Any] | tuple[Any, ...]) -> None:
        """The application has returned all that it has: one block, or none."""
        response = self._response
        block = app_iter[0] if app_iter else b""
        if not isinstance(block, bytes) or self._extensions.due is not None:
            self._begin(app_iter)
        elif (
            self._consumer.full
            or len(block) > self._consumer.at_once
            or (response.state is HEADERS_SENT and self._consumer.is_full())
        ):
            # Behind what the client does not read this one waits, or its end does.
            response.declare_length(len(block))
            self._begin(app_iter)
        else:
            # A list has no close(); so the response may end at once.
            self._close()
            if not response.whole(block):
                if response.wanted:
                    self._whole(block)
                else:
                    self._finish()

    def _begin(self, app_iter: Iterable[bytes]) -> None:
        """Ask for blocks from now on."""
        self._app_iter = app_iter
        if self._response.wanted:
            self._consumer.attach(self)
        if self._response.wanted:
            if type(app_iter) is GeneratorType:
                self._iterator = app_iter  # As iter() would say.
            elif type(app_iter) is FileWrapper and self._consumer.takes_files:
                self._iterator = blocks_of(app_iter)
            else:
                self._iterator = self._ask(iter, app_iter)
        if not self._response.wanted:
            self._finish()
        elif self._consumer.exact:
            self._step()
        else:
            # Within this turn nothing would leave before the next step (F2).
            self.schedule()

    def _step(self) -> None:
        """Ask for blocks and send them, until there is a reason to stop."""
        self._turn = None
        response, exact = self._response, self._consumer.exact
        # Whatever is asked for each block counts.
        run, seconds, write = self._context.run, self._reactor.seconds, response.write
        before = seconds()
        slice_ends = before + SLICE
        in_file = type(self._iterator) is FileBlocks
        # A flush while it was suspended may have been enough.
        while response.wanted:
            if self._waiting or self._pauses:
                self._consumer.turn_ends()
                return
            self._asking = True
            try:
                block: Any = run(next, self._iterator, _EXHAUSTED)
            except BaseException:
                self._application_failed = True
                raise
            finally:
                self._asking = False
                now = seconds()
                if now - before >= BLOCKING:
                    self._has_blocked(now - before)
            before = now
            if block is _EXHAUSTED:
                if type(self._app_iter) is GeneratorType:
                    self._app_iter = None  # It has nothing left to close.
                break
            if not response.wanted:
                break
            if in_file or (block if type(block) is bytes else _checked(block)):
                write(block)
            else:
                # It asks for nothing but a turn, or to be suspended: PEP 3333,
                # "Middleware Handling of Block Boundaries".  The head waits for a
                # real one.  What the application waits for, it may have closed.
                self._ask(self._extensions.empty_block, self.pauses)
            if now < slice_ends and block and exact:
                continue
            if not response.has_enough:
                self._consumer.turn_ends()
                self.schedule()
                return
        # A file may not be closed while some of it is not with the kernel.
        if not (in_file and self._pauses) or response.over:
            self._finish()

    @property
    def _may_step(self) -> bool:
        return not (self._waiting or self._pauses or self._response.over)

    def _turned(self) -> None:
        self._container.batch.look()
        self._guard(self._step)

    def _batch_left(self) -> None:
        self._waiting = False
        if self._turn is None and self._may_step:
            self._guard(self._step)

    def _finish(self) -> None:
        self._close()
        if not self._response.over:
            self._response.end()

    def _close(self) -> None:
        """What PEP 3333 owes the iterable, once, on every way out."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._extensions.used:
            self._ask(self._extensions.end)  # As for an empty block.
        else:
            self._extensions.ended = True
        begun_before: Sequence[Callable[[], object]] = ()
        if self._begun:
            # What close() begins is not in there.
            begun_before, self._begun = self._begun[:], None
        try:
            if self._app_iter is not None:
                app_iter, self._app_iter = self._app_iter, None
                self._iterator = _NOTHING
                close = getattr(app_iter, "close", None)
                if close is not None:
                    self._ask(close)
        finally:
            if self._pauses is not None:
                self._pauses.end()
            for cancel in begun_before:
                cancel()
            if self._error_log.text:
                self._error_log.flush()

    def _replace(self, error: ResponseError) -> None:
        """Give the response that the application has raised."""
        body = _checked(error.body)
        exc_info = (type(error), error, error.__traceback__)
        self._response.start_response(error.status, list(error.headers), exc_info)
        self._whole(body)

    def _whole(self, body: bytes) -> None:
        self._response.declare_length(len(body))
        if body:
            self._response.write(body)
        self._finish()

    def _ask(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Run what is the application's."""
        began = self._reactor.seconds()
        self._asking = True
        try:
            return self._context.run(function, *arguments)
        except BaseException:
            self._application_failed = True
            raise
        finally:
            self._asking = False
            self._now = self._reactor.seconds()
            if self._now - began >= BLOCKING:
                self._has_blocked(self._now - began)

    def _has_blocked(self, seconds: float) -> None:
        """Name it in the log, once."""
        if not self._named_in_log:
            self._named_in_log = True
            _log.warn(
                "{request}: the application blocked the reactor, and everybody "
                "else, for {seconds:.1f} s",
                request=self._response.request_name,
                seconds=seconds,
            )

    def _guard(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do a piece of work; if that fails, end the response."""
        try:
            work(*arguments)
        except BaseException:
            self._failed(Failure())

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, ResponseError) and self._response.replaceable:
            self._application_failed = False
            self._guard(self._replace, failure.value)
            return
        whose = "application error"
        if not self._application_failed and not failure.check(ApplicationError):
            whose = "error in the container, please report it"
        self._application_failed = False
        request = self._response.request_name
        if failure.check(InputLost):
            _log.debug("{request}: {why}", request=request, why=failure.value)
        else:
            _log.failure("{request}: {whose}", failure, request=request, whose=whose)
        shown = failure if self._container.debug else None
        try:
            accept: Any = self._environ.get("HTTP_ACCEPT")
            accept = accept if type(accept) is str else ""  # It may have changed it.
            self._response.fail(*error_page(accept, shown))
        finally:
            self._guard(self._close)


def _checked(block: object) -> bytes:
    if not isinstance(block, bytes):
        raise WrongType(
            f"the application must give blocks of bytes, not "
            f"{reprlib.repr(block)} ({type(block).__name__})"
        )
    return block
