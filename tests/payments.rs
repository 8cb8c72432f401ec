//! Payments: the gateways that move money, and what they tell about it afterwards.

mod collecting;
mod crashes;
mod gateways;
mod webhooks;
