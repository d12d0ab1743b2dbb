//! From a log of which experts fired to the order in which they lie: those that fire together are read together, and
//! side by side that is one place of the disk instead of several.

mod chain;
mod log;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use crate::error::{Error, Result};
use chain::chain;
use log::RoutingLog;

/// Most experts of a layer: the order takes memory and time for each pair.
const EXPERTS_MAX: u64 = 4096;

/// An order for the experts of each layer, by a routing log or by their numbers.
pub(crate) struct ExpertOrder {
    log: Option<RoutingLog>,
    asked: RefCell<Asked>,
}

/// What came of asking.
#[derive(Default)]
struct Asked {
    /// Layers that got an order.
    layers: BTreeSet<u32>,
    wrong: Option<String>,
}

impl ExpertOrder {
    /// Experts lie in the order of their numbers.
    pub(crate) fn none() -> ExpertOrder {
        ExpertOrder {
            log: None,
            asked: RefCell::default(),
        }
    }

    /// The order that the routing log in the file `path` suggests.
    ///
    /// # Errors
    /// A file that cannot be read or is no routing log, with the line that is wrong.
    pub(crate) fn read(path: &Path) -> Result<ExpertOrder> {
        Ok(ExpertOrder {
            log: Some(RoutingLog::read(path)?),
            ..ExpertOrder::none()
        })
    }

    /// The place of each of a layer's experts; `None` where the log says nothing of the layer.
    pub(crate) fn places(&self, layer: u32, experts: u64) -> Option<Vec<u32>> {
        let fired = self.log.as_ref()?.layer(layer)?;
        let mut asked = self.asked.borrow_mut();
        let most = u64::from(fired.most());
        if most >= experts {
            asked.wrong.get_or_insert_with(|| {
                format!("expert {most} of layer {layer} fired, and the model has {experts} experts there")
            });
            return None;
        }
        if experts > EXPERTS_MAX {
            asked.wrong.get_or_insert_with(|| {
                format!(
                    "layer {layer} has {experts} experts: at most {EXPERTS_MAX} can be put in order"
                )
            });
            return None;
        }
        asked.layers.insert(layer);
        Some(places(&chain(experts as usize, fired)))
    }

    /// How many layers got an order.
    pub(crate) fn layers(&self) -> usize {
        self.asked.borrow().layers.len()
    }

    /// True where the log fits the model whose layers asked.
    pub(crate) fn is_good(&self) -> bool {
        self.check().is_ok()
    }

    /// # Errors
    /// A log that does not fit the model.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        let asked = self.asked.borrow();
        let wrong = match &asked.wrong {
            Some(wrong) => wrong.as_str(),
            None if asked.layers.is_empty() => {
                "no layer of the model has a tensor of all its experts and is in the log"
            }
            None => return Ok(()),
        };
        Err(Error::message(format!(
            "--routing {}: {wrong}",
            log.path().display()
        )))
    }
}

/// The place of each expert, of experts in their order.
fn places(order: &[u32]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, &expert) in (0..).zip(order) {
        if let Some(of) = places.get_mut(expert as usize) {
            *of = place;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(log: &str) -> ExpertOrder {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), log).expect("written");
        ExpertOrder::read(file.path()).expect("a log")
    }

    #[test]
    fn a_place_is_given_to_each_expert_of_a_layer_in_the_log() {
        let order = order("step,layer,expert\n0,3,0\n0,3,3\n1,3,3\n1,3,0\n2,3,1\n");
        assert_eq!(order.places(2, 4), None);
        assert!(order.check().is_err(), "no layer yet");
        assert_eq!(order.places(3, 4), Some(vec![0, 2, 3, 1]));
        assert_eq!(order.layers(), 1);
        assert!(order.is_good());
    }

    #[test]
    fn a_log_of_more_experts_than_the_model_has_does_not_fit() {
        let order = order("step,layer,expert\n0,0,7\n");
        assert_eq!(order.places(0, 7), None);
        let wrong = order.check().expect_err("wrong").to_string();
        assert!(
            wrong.contains("expert 7 of layer 0") && wrong.contains("7 experts"),
            "{wrong}"
        );
        assert!(ExpertOrder::none().is_good());
    }
}
