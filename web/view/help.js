// @ts-check
// The keys, said when somebody asks with "?".

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { ask } from "./dialog.js";

export function help() {
  const keys = [
    ["1 … 6", t("screens")], ["/", t("search")], ["j, k", t("next, previous row")], ["x", t("pick a row")], ["r", t("try again what is picked")],
    ["p", t("let the plan stand still")], ["Esc", t("close, clear, back")], ["?", t("this list")],
  ];
  const list = h("dl", "keys", ...keys.map(([key, what]) => h("div", "", h("dt", "", h("kbd", "", key)), h("dd", "", what))));
  return ask({ title: t("Keys"), text: t("A scanner that types like a keyboard needs no field: what it reads goes to the search of the screen."), body: [list], label: t("Close"), only: true, run: async () => null });
}
