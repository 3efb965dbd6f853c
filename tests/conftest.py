"A shell that starts a job in the background lets it ignore Ctrl-C, and so would all that the tests start and stop"
import signal

if signal.getsignal(signal.SIGINT)==signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)
