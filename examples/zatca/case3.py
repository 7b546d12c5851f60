"""Case 3: the service provider (SP) supplies the customer (C), and the platform (P) issues for SP as a third party.

The document is made in SP's tenant, so that it takes SP's chain and certificate; here P acts there with SP's own
credentials. It wants the Authority's approval (Art. 53(3)).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from scene import FEE, PROVIDER, SERVICE, Row, Scene, on_stage

from invora_grpc.zatca import Agreement, Customer, SpStatus, Supply, ThirdParty, advise, build, issue, note, send


def run(scene: Scene) -> None:
    """Issue for both kinds of customers, and charge the consumer a little more by a debit note."""
    agreement = Agreement(third_party=ThirdParty(PROVIDER.vat_number, approval="SAMPLE-TP-12"))
    for customer in reversed(Customer):
        option = advise(Supply(SpStatus.registered, customer, disclosed=True, date=scene.today)).option(3)
        deal = scene.deal(f"c3-{customer}", customer, service=(SERVICE,), fee=(FEE,))
        scene.show(issue(scene.own, option, deal, agreement))

    debit = note(
        build(option, 1, deal, agreement, now=deal.issued_at),  # on any later day too
        383,
        (replace(SERVICE, name="Half an hour more", quantity=Decimal("0.5")),),
        reason="The visit took longer",
        key=f"{deal.key}-1-debit",
        issued_at=datetime.now(UTC),
        event=scene.today,
        agreement=agreement,
    )
    scene.tell(Row.of("3", customer, "1 debit", debit, send(scene.own, debit)))


if __name__ == "__main__":
    with on_stage() as scene:
        run(scene)
