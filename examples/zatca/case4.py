"""Case 4: the platform (P) supplies the customer (C), and the service provider (SP) invoices P in the ordinary way.

P's fee is the margin between the two prices: no document shows it.
"""

from __future__ import annotations

from scene import COST, SERVICE, Scene, on_stage

from invora_grpc.zatca import Customer, SpStatus, Supply, advise, issue


def run(scene: Scene) -> None:
    """Issue for both kinds of customers."""
    for customer in Customer:
        option = advise(Supply(SpStatus.registered, customer, disclosed=False, date=scene.today)).option(4)
        deal = scene.deal(f"c4-{customer}", customer, service=(SERVICE,), cost=(COST,))
        scene.show(issue(scene.clients, option, deal))


if __name__ == "__main__":
    with on_stage() as scene:
        run(scene)
