"""Case 1: the service provider (SP) supplies the customer (C) and issues its own invoice; the platform (P) bills a fee.

Both documents go by the Simple surface, each in its seller's tenant. Then a part is credited: a credit note inherits
everything from the document that it corrects.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from scene import FEE, SERVICE, Row, Scene, on_stage

from invora_grpc.zatca import Customer, SpStatus, Supply, advise, build, issue, note, send


def run(scene: Scene) -> None:
    """Issue for a consumer and for a business, and credit half of the business's invoice."""
    for customer in Customer:
        option = advise(Supply(SpStatus.registered, customer, disclosed=True, date=scene.today)).option(1)
        deal = scene.deal(f"c1-{customer}", customer, service=(SERVICE,), fee=(FEE,))
        issued = issue(scene.clients, option, deal)
        scene.show(issued)

    original = build(option, 1, deal, now=deal.issued_at)  # on any later day too
    credit = note(
        original,
        381,
        (replace(SERVICE, unit_price=Decimal(100)),),
        reason="Half of the visit was cancelled",
        key=f"{deal.key}-1-credit",
        issued_at=datetime.now(UTC),
        event=scene.today,
        number=issued.leg(1).number,
    )
    scene.tell(Row.of("1", customer, "1 credit", credit, send(scene.clients, credit)))


if __name__ == "__main__":
    with on_stage() as scene:
        run(scene)
