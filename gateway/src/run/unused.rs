//! What a configuration has and nothing uses.

use super::guests::Loaded;
use crate::config::Config;

/// A sentence for each guest and route that gets no records, and for each source whose records have
/// nowhere to go. `loaded` are the guests of the configuration, in its order.
pub(super) fn unused(config: &Config, loaded: &[Loaded]) -> Vec<String> {
    let pipelines = &config.pipelines;
    let is_called =
        |guest: usize| pipelines.iter().any(|pipeline| pipeline.guests.contains(&guest));
    let sends = |name: &String| {
        let mut called = (0..).zip(loaded).filter(|(guest, _)| is_called(*guest));
        called.any(|(_, loaded)| loaded.guest.manifest().routes.contains(name))
    };
    let guests = (0..).zip(&config.guests).filter(|(guest, _)| !is_called(*guest));
    let guests = guests.map(|(_, guest)| format!("guest {:?} is in no pipeline", guest.name));
    let routes = (0..).zip(&config.routes).filter(|(route, known)| {
        let is_named = pipelines.iter().any(|pipeline| pipeline.routes.contains(route));
        !is_named && !sends(&known.name)
    });
    let routes = routes.map(|(_, route)| {
        format!("route {:?} is named by no pipeline and no router of one", route.name)
    });
    let sources = (0..).zip(&config.sources).filter(|(source, _)| {
        let own = pipelines.iter().find(|pipeline| pipeline.sources.contains(source));
        // Guests may be there to count, and nothing else.
        let leads_on = own.is_some_and(|own| !own.guests.is_empty() || !own.routes.is_empty());
        !leads_on && config.drains.is_empty()
    });
    let sources = sources.map(|(_, source)| {
        let name = &source.name;
        format!(
            "source {name:?} leads nowhere: no pipeline of it has routes, and there are no drains"
        )
    });
    guests.chain(routes).chain(sources).collect()
}
