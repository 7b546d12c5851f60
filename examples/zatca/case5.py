"""Case 5: the service provider (SP) supplies the customer (C), and issues the platform's (P) commission invoice itself.

The commission is P's supply to SP; SP bills it to itself under an arrangement (Art. 53(2)). What C gets is issued by SP
(as in case 1), or by P as a third party (as in case 3).
"""

from __future__ import annotations

from scene import FEE, PLATFORM, PROVIDER, SERVICE, Scene, days_ago, on_stage

from invora_grpc.zatca import Agreement, Customer, SelfBilling, SpStatus, Supply, ThirdParty, advise, issue


def run(scene: Scene) -> None:
    """Issue for both kinds of customers, with either parent."""
    agreement = Agreement(
        SelfBilling(
            supplier_vat=PLATFORM.vat_number,
            customer_vat=PROVIDER.vat_number,
            reference="SB-2026-002",
            agreed_on=days_ago(90, scene.today),
            certified_on=days_ago(60, scene.today),
            approval="SAMPLE-SB-78",
        ),
        ThirdParty(PROVIDER.vat_number, approval="SAMPLE-TP-12"),
    )
    for parent in (1, 3):
        for customer in Customer:
            option = advise(Supply(SpStatus.registered, customer, disclosed=True, date=scene.today)).option(5, parent)
            deal = scene.deal(f"c5-{parent}-{customer}", customer, service=(SERVICE,), fee=(FEE,))
            scene.show(issue(scene.clients, option, deal, agreement))


if __name__ == "__main__":
    with on_stage() as scene:
        run(scene)
