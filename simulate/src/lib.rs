//! A simulated secure processor, for tests and demonstrations: its certificate chain and the evidence it signs. Nothing
//! it signs is ever accepted by a released client.
