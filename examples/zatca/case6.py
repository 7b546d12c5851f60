"""Case 6: as case 1, 3 or 4, but the platform's (P) fees of a month go to the service provider (SP) in one invoice.

Each transaction has its documents but the fee's; the summary follows until the 15th of the next month (Art. 53(4)). The
other way is the Billing module: each fee is metered as a usage event, and billed by the plan. Never both for one fee.
"""

from __future__ import annotations

from datetime import UTC, datetime

from scene import COST, FEE, PROVIDER, SERVICE, Row, Scene, on_stage

from invora_grpc.zatca import (
    Agreement,
    Customer,
    Deal,
    SpStatus,
    Supply,
    ThirdParty,
    advise,
    issue,
    send,
    summary,
    usage_events,
)


def run(scene: Scene) -> None:
    """Two transactions over each parent, and their summary; then one more that is metered."""
    agreement = Agreement(third_party=ThirdParty(PROVIDER.vat_number, approval="SAMPLE-TP-12"))
    for parent in (1, 3, 4):
        deals: list[Deal] = []
        for customer in Customer:
            supply = Supply(SpStatus.registered, customer, disclosed=parent != 4, fee_period="month", date=scene.today)
            option = advise(supply).option(6, parent)
            deal = scene.deal(f"c6-{parent}-{customer}", customer, service=(SERVICE,), fee=(FEE,), cost=(COST,))
            scene.show(issue(scene.clients, option, deal, agreement))
            deals.append(deal)
        key = f"{scene.run}-c6-{parent}-{scene.today:%Y-%m}"
        month = summary(option, scene.today, deals, key=key, issued_at=datetime.now(UTC))
        scene.tell(Row.of(f"6 over {parent}", "both", "2 summary", month, send(scene.clients, month)))

    supply = Supply(SpStatus.registered, Customer.consumer, disclosed=True, fee_period="month", date=scene.today)
    option, subscription = advise(supply).option(6, 1), scene.subscription()
    deal = scene.deal("c6-metered", Customer.consumer, service=(SERVICE,), fee=(FEE,), subscription=subscription)
    scene.show(issue(scene.clients, option, deal))
    for event in usage_events(option, [deal]):
        scene.tell(Row.of("6 over 1", Customer.consumer, "2 event", event, send(scene.clients, event)))


if __name__ == "__main__":
    with on_stage() as scene:
        run(scene)
