"""The bridge between jails and the world: links, addresses, translation, and what a jail may reach.

For jails with `network: bridge`, and for root. The libraries for netlink and nftables are imported with the first call
that finds something to do.

What the rules cannot do: another program's table may drop what ours lets through, as a firewall or Docker's FORWARD
chain with the policy `drop` does, for every table is asked and one refusal counts. And `nft flush ruleset` takes our
rules with all others: until a jail is connected anew it has neither a way out of the host nor a guard before it.

The host's switch net.ipv4.ip_forward is left alone. Where it is 0, each interface with an address is made to forward,
so that answers find their way; nothing else that is new passes there, and the last jail gives it all back.
"""

from jailkit.network.connect import attach, detach, status, sweep
from jailkit.network.model import Attachment, NetworkSpec

__all__ = ["Attachment", "NetworkSpec", "attach", "detach", "status", "sweep"]
