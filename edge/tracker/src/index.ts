export type * from "./public";
export { clickstage, clickstage as default } from "./tracker";
