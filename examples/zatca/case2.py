"""Case 2: the platform (P) supplies the customer (C), and issues the service provider's (SP) invoice to itself.

The self-billed document wants an arrangement (Art. 53(2)), and both registered. Where SP is not, P may be the supplier
by law (Art. 47(3)): then only P's invoice to C follows, and SP needs no tenant at all.
"""

from __future__ import annotations

from dataclasses import replace

from scene import COST, PLATFORM, PROVIDER, SERVICE, Scene, days_ago, on_stage

from invora_grpc.zatca import Agreement, Customer, Role, SelfBilling, SpStatus, Supply, advise, issue


def run(scene: Scene) -> None:
    """Issue for both kinds of customers with a registered SP, and with SPs who are not."""
    agreement = Agreement(
        SelfBilling(
            supplier_vat=PROVIDER.vat_number,
            customer_vat=PLATFORM.vat_number,
            reference="SB-2026-001",
            agreed_on=days_ago(90, scene.today),
            certified_on=days_ago(60, scene.today),
            approval="SAMPLE-SB-77",
        )
    )
    for customer in Customer:
        option = advise(Supply(SpStatus.registered, customer, disclosed=False, date=scene.today)).option(2)
        deal = scene.deal(f"c2-{customer}", customer, service=(SERVICE,), cost=(COST,))
        scene.show(issue(scene.clients, option, deal, agreement))

    for status in (SpStatus.non_registered, SpStatus.non_resident):
        supply = Supply(status, Customer.consumer, collects_payment=True, date=scene.today)
        unregistered = replace(PROVIDER, vat_number="")
        deal = scene.deal(f"c2-{status}", Customer.consumer, provider=unregistered, service=(SERVICE,))
        scene.show(issue({Role.P: scene.clients[Role.P]}, advise(supply).option(2), deal), status)


if __name__ == "__main__":
    with on_stage() as scene:
        run(scene)
